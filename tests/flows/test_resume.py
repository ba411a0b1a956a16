"""Kill a run in every stage in turn: the next goes on, and in the end all is as if nothing had happened."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest
import requests
from prefect.settings import PREFECT_API_URL

from tasks.features.cache import FeatureKey
from tasks.recipes import RECIPES
from tasks.registry.models import find_champion
from tasks.sample.server import serve
from tasks.settings import EvaluationSettings, ExportSettings

pytestmark = [pytest.mark.backbone, pytest.mark.recovery]

# The folder of the features but for the backbone's fingerprint, which is in front.
FEATURES = FeatureKey("", RECIPES["fast"]["features"]["taps"]).folder_name

# What is about to get its final name when the process is killed, and what must be there by then, whole. Features files
# are named by their images: FIRST and SECOND stand for those that the small run wrote first.
KILLS = [
    ("catalog/films.parquet", []),
    ("posters/part-00001-of-00004.json", ["catalog/films.parquet", "posters/part-00001-of-00004-*.parquet"]),
    ("data/splits/", ["posters/part-00001-of-00004.json"]),
    ("data/shards", ["splits/seed-0.parquet"]),
    (f"{FEATURES}/SECOND", ["shards/dataset.json", "features/*/FIRST"]),
    ("training/seed_bce-", ["features/*/SECOND", "training/fast-*/training.json"]),
    ("data/evaluation", ["training/seed_bce-*/training.json"]),
    ("data/export", ["evaluation/metrics.json"]),
    ("artifacts/models/", ["export/export.json"]),
    ("artifacts/champion.json", ["../artifacts/models/*/manifest.json"]),
]


def run(settings_file: Path, kill_at: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows.cli", "run", "--settings", str(settings_file)]
    # Against the session's server: starting one for each run would take longer than all the runs.
    environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    if kill_at:
        environment |= {"KILL_AT": kill_at, "PYTHONPATH": str(Path(__file__).with_name("killer"))}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)


def stat_all(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and "logs" not in path.parts}


def read_states(data_dir: Path) -> list[str]:
    """Returns the states of the flow runs that worked in a folder."""
    url = f"{PREFECT_API_URL.value()}/flow_runs/filter"
    runs = requests.post(url, json={"sort": "START_TIME_DESC", "limit": 100}, timeout=30).json()
    return [run["state_type"] for run in runs if run["parameters"].get("settings", {}).get("data_dir") == str(data_dir)]


def test_killed_in_every_stage_and_in_the_end_the_same(small_run, tmp_path: Path) -> None:
    data_dir, artifacts_dir = tmp_path / "data", tmp_path / "artifacts"
    model = small_run.run.model
    settings_file = tmp_path / "settings.yaml"
    changes = {
        "data_dir": data_dir,
        "artifacts_dir": artifacts_dir,
        "evaluation": EvaluationSettings(baselines=("seed_bce",), label_error_folds=None),
        "export": ExportSettings(tflite=False, index=False, views=1),
    }
    # JSON is YAML, too.
    settings_file.write_text(small_run.settings.model_copy(update=changes).model_dump_json(), "utf-8")
    written = sorted((small_run.data_dir / "features").glob("*/features-*"), key=lambda path: path.stat().st_mtime_ns)
    first, second, *_ = (path.name for path in written)
    with serve(small_run.data_dir / "site", small_run.port):
        for target, finished in KILLS:
            done = run(settings_file, target.replace("SECOND", second))
            assert done.returncode == -signal.SIGKILL, f"{target}: {done.stdout}{done.stderr}"
            for pattern in (name.replace("FIRST", first).replace("SECOND", second) for name in finished):
                assert list(data_dir.glob(pattern)) or list(tmp_path.glob(pattern.removeprefix("../"))), target
        before = stat_all(tmp_path)
        last = run(settings_file)
    assert last.returncode == 0, last.stdout + last.stderr
    # All was finished but for the last rename, which the next run makes up for.
    assert "up to date" in last.stdout
    champion = find_champion(artifacts_dir)
    assert champion is not None
    changed = {path.name for path, time in stat_all(tmp_path).items() if before.get(path) != time}
    assert changed == {"films.parquet", "dropped.json", "doubts.json", "champion.json"}
    assert not list(tmp_path.rglob("*.partial"))
    assert len(list((artifacts_dir / "models").iterdir())) == 1

    # Byte for byte the files of the run that was not killed, from the same films.
    for folder in ("shards", "splits"):
        names = sorted(path.name for path in (data_dir / folder).iterdir())
        assert names == sorted(path.name for path in (small_run.data_dir / folder).iterdir())
        for name in names:
            assert (data_dir / folder / name).read_bytes() == (small_run.data_dir / folder / name).read_bytes(), name
    for path in (small_run.data_dir / "features").rglob("features-*.parquet"):
        assert pq.read_table(path).equals(pq.read_table(data_dir / path.relative_to(small_run.data_dir))), path.name
    champion.verify()
    assert champion.genres == model.genres
    weights, same = (keras.saving.load_model(folder.head_path).get_weights() for folder in (champion, model))
    for one, other in zip(weights, same, strict=True):
        np.testing.assert_array_equal(one, other)

    # The server does not take the killed runs for running.
    assert read_states(data_dir) == ["COMPLETED", *["CRASHED"] * len(KILLS)]
