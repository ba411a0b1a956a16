import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows.compare import compare
from tasks.sample.server import serve
from tasks.settings import ExportSettings, TrainingSettings

pytestmark = pytest.mark.backbone


def stat(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_recipes_over_seeds(small_run, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    shutil.copytree(small_run.data_dir, data_dir)
    changes = {"data_dir": data_dir, "training": TrainingSettings(recipe="fast", epochs=2)}
    settings = small_run.settings.model_copy(update=changes)
    before = stat(data_dir / "shards")
    with serve(small_run.data_dir / "site", small_run.port):
        # What is named twice is compared once.
        comparison = compare(settings, ("seed_bce", "seed_bce"), num_seeds=2)
    scored = json.loads((comparison.folder / "comparison.json").read_text("utf-8"))
    assert [(row["recipe"], row["seed"]) for row in scored] == [
        ("fast (altered)", 0),
        ("seed_bce", 0),
        ("fast (altered)", 1),
        ("seed_bce", 1),
    ]
    # The seed of the small run, its split and its trained baseline.
    baseline = small_run.run.metrics["baselines"]["seed_bce"]
    for name in ("validation_macro_f1", "best_epoch", "training_seconds"):
        assert scored[1][name] == baseline[name]
    assert scored[1]["macro_f1"] != scored[3]["macro_f1"]
    assert comparison.table == (comparison.folder / "comparison.md").read_text("utf-8").rstrip("\n")
    # A row a recipe, twice: scores, and differences between them.
    rows = [line.split("|")[1].strip() for line in comparison.table.splitlines() if line]
    recipes = ["fast (altered)", "seed_bce"]
    assert [row for row in rows if not row.startswith(":")] == ["recipe", *recipes, "less that of", *recipes]
    # The data set of the last run is as it was: a comparison has splits of its own, and no shards.
    assert stat(data_dir / "shards") == before
    assert not list(comparison.folder.rglob("*.tfrecord"))
    assert [path.name for path in (data_dir / "splits").iterdir()] == ["seed-0.parquet"]


def test_recipes_on_films_held_out(small_run, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    shutil.copytree(small_run.data_dir, data_dir)
    # Recipes with different features, of which `fast` has those of the small run.
    features = small_run.settings.features.model_copy(update={"image_size": (96, 96), "views": 3})
    changes = {
        "data_dir": data_dir,
        "features": features,
        "training": TrainingSettings(recipe="fast", epochs=2),
        "export": ExportSettings(views=2),
    }
    settings = small_run.settings.model_copy(update=changes)
    with serve(small_run.data_dir / "site", small_run.port):
        comparison = compare(settings, ("fast",), num_seeds=2, num_held_out=60)
    names = {path.name for path in (data_dir / "features").iterdir()}
    assert any(name.endswith("-96x96") for name in names)
    assert len(names) == 2
    scored = json.loads((comparison.folder / "comparison.json").read_text("utf-8"))
    assert [(row["recipe"], row["seed"]) for row in scored] == [
        ("fast (altered)", 0),
        ("fast", 0),
        ("fast (altered)", 1),
        ("fast", 1),
    ]
    tests = []
    for seed in (0, 1):
        films = pq.read_table(comparison.folder / f"seed-{seed}" / "films.parquet").to_pandas()
        tests.append(set(films[films["split"] == "test"]["imdb_id"]))
    assert tests[0] == tests[1]
    assert 60 <= len(tests[0]) < 70
    # The same test films: an interval beside the difference.
    assert re.search(
        r"\| fast \(altered\) +\| +\| -?0\.\d{3} ± 0\.\d{3} \(-?0\.\d{3} to -?0\.\d{3}\) \|", comparison.table
    )
