import json
import shutil
from pathlib import Path

import pytest

from flows.compare import compare
from tasks.sample.server import serve
from tasks.settings import TrainingSettings

pytestmark = pytest.mark.backbone


def stat(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_recipes_over_seeds(small_run, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    shutil.copytree(small_run.data_dir, data_dir)
    changes = {"data_dir": data_dir, "training": TrainingSettings(epochs=2)}
    settings = small_run.settings.model_copy(update=changes)
    before = stat(data_dir / "shards")
    with serve(small_run.data_dir / "site", small_run.port):
        # What is named twice is compared once.
        comparison = compare(settings, ("seed_bce", "seed_bce"), num_seeds=2)
    scored = json.loads((comparison.folder / "comparison.json").read_text("utf-8"))
    assert [(row["recipe"], row["seed"]) for row in scored] == [
        ("default (altered)", 0),
        ("seed_bce", 0),
        ("default (altered)", 1),
        ("seed_bce", 1),
    ]
    # The seed of the small run, its split and its trained baseline: the same figures.
    baseline = small_run.run.metrics["baselines"]["seed_bce"]
    assert {name: baseline[name] for name in scored[1] if name in baseline} == {
        name: value for name, value in scored[1].items() if name in baseline
    }
    assert scored[1]["macro_f1"] != scored[3]["macro_f1"]
    assert comparison.table == (comparison.folder / "comparison.md").read_text("utf-8").rstrip("\n")
    assert "default (altered) improves by, test" in comparison.table
    # The data set of the last run is as it was: a comparison has splits of its own, and no shards.
    assert stat(data_dir / "shards") == before
    assert not list(comparison.folder.rglob("*.tfrecord"))
    assert [path.name for path in (data_dir / "splits").iterdir()] == ["seed-0.parquet"]
