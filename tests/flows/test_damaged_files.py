"""Files that are damaged between two runs: the second mends them piece by piece, and ends as if nothing had been."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from broken_pictures import draw_png_without_its_last_rows

from flows.doctor import check_data
from flows.repairing import repeat_repaired
from flows.train import train
from tasks.errors import DatasetError, RepairedError
from tasks.features.cache import list_files
from tasks.posters import ledger
from tasks.posters.segments import FAILED, LEDGER, OK, list_parts, read_segment
from tasks.sample.server import serve
from tasks.settings import EvaluationSettings, ExportSettings, Settings, TrainingSettings

pytestmark = pytest.mark.backbone


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x11
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def find(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


@pytest.fixture
def copied(small_run, tmp_path: Path) -> Settings:
    """The small run's folders, copied, and settings for a run there that makes a model of unchanged stages."""
    for name, folder in (("data", small_run.data_dir), ("artifacts", small_run.artifacts_dir)):
        shutil.copytree(folder, tmp_path / name)
    manifest_path = tmp_path / "artifacts" / "models" / small_run.run.model.id / "manifest.json"
    manifest_path.write_text(json.dumps({**json.loads(manifest_path.read_text()), "inputs_fingerprint": "others"}))
    changes = {"data_dir": tmp_path / "data", "artifacts_dir": tmp_path / "artifacts"}
    return small_run.settings.model_copy(update=changes)


def read_warnings(data_dir: Path) -> list[str]:
    """Returns the warnings of the stages in the newest log."""
    log = max((data_dir / "logs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    return [line["message"] for line in lines if line["level"] != "INFO" and line["logger"].startswith("tasks.")]


@pytest.mark.recovery
def test_a_run_mends_every_damaged_file_and_ends_as_the_undamaged_one(small_run, copied: Settings) -> None:
    data = copied.data_dir
    extracted, flipped, *_ = list_files(find(data / "features", "*"))
    extracted.unlink()  # its images are read from their shard again, which is damaged
    shown = set(
        pq.read_table(small_run.data_dir / extracted.relative_to(data), columns=["sha256"])["sha256"].to_pylist()
    )
    films = pq.read_table(data / "shards" / "films.parquet", columns=["sha256", "split"]).to_pylist()
    (split,) = {film["split"] for film in films if film["sha256"] in shown}
    damages: dict[Path, Callable[[Path], None]] = {
        find(data, "splits/*"): Path.unlink,
        find(data, f"shards/*-{split}-*"): flip,
        flipped: flip,
        find(data, "features/*/gathered-*/train.npy"): flip,
        find(data, "training/fast-*[!s]/head.keras"): truncate,
        find(data, "training/seed-*/training.json"): empty,
        data / "evaluation" / "metrics.json": flip,
        data / "export" / "saved_model" / "saved_model.pb": Path.unlink,
    }
    for path, damage in damages.items():
        damage(path)
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*") if path.is_file()}
    with serve(data / "site", small_run.port):
        run = train(copied)
    assert run.is_new
    warnings = read_warnings(data)
    assert [sum(message.startswith(f"{path} is ") for message in warnings) for path in damages] == [1] * len(damages)
    assert len(warnings) == len(damages)

    # The same films, images, splits and predictions.
    assert run.model.read_manifest()["inputs"]["dataset"] == small_run.run.model.read_manifest()["inputs"]["dataset"]
    for folder in ("splits", "shards"):
        for path in (small_run.data_dir / folder).iterdir():
            assert path.read_bytes() == (data / folder / path.name).read_bytes(), path.name
    for path in (small_run.data_dir / "features").rglob("features-*.parquet"):
        assert pq.read_table(path).equals(pq.read_table(data / path.relative_to(small_run.data_dir))), path.name
    weights, same = (
        keras.saving.load_model(model.head_path).get_weights() for model in (run.model, small_run.run.model)
    )
    for one, other in zip(weights, same, strict=True):
        np.testing.assert_array_equal(one, other)
    assert run.metrics["model"]["macro_f1"] == small_run.run.metrics["model"]["macro_f1"]

    # Other shards, features and heads are those of before.
    kept = {path for path, time in before.items() if path.exists() and path.stat().st_mtime_ns == time}
    for pattern, num_kept in (("shards/*.tfrecord", 2), ("features/*/*.parquet", 1), ("training/*/head.keras", 1)):
        assert len(kept.intersection(data.glob(pattern))) == num_kept, pattern
    assert run.model.verify()["files"].keys() == small_run.run.model.verify()["files"].keys()


@pytest.mark.recovery
def test_a_poster_that_tensorflow_cannot_decode_is_left_out(small_run, copied: Settings) -> None:
    content = draw_png_without_its_last_rows()
    posters = copied.data_dir / "posters"
    part = list_parts(posters)[0]
    (segment,) = part.paths()
    rows = read_segment(segment).to_pylist()
    row = next(row for row in rows if row["status"] == OK)
    sha256 = hashlib.sha256(content).hexdigest()
    row.update(content=content, sha256=sha256, num_bytes=len(content), format="png")
    part.replace({segment.name}, [pa.Table.from_pylist(rows, schema=LEDGER)])
    quick = {
        "training": TrainingSettings(recipe="fast", epochs=1),
        "evaluation": EvaluationSettings(baselines=(), label_error_folds=None),
        "export": ExportSettings(tflite=False, index=False, views=1),
    }
    with serve(copied.data_dir / "site", small_run.port):
        run = train(copied.model_copy(update=quick))
    assert run.is_new
    found = {row["imdb_id"]: row for row in ledger.read_ledger(posters).to_pylist()}
    assert (found[row["imdb_id"]]["status"], found[row["imdb_id"]]["reason"]) == (FAILED, "not decodable")
    films, films_before = (
        {film["imdb_id"]: film["split"] for film in pq.read_table(folder / "shards" / "films.parquet").to_pylist()}
        for folder in (copied.data_dir, small_run.data_dir)
    )
    del films_before[row["imdb_id"]]
    assert films == films_before
    assert sum(run.metrics["num_films"].values()) == 235


def test_damaged_splits_without_a_champion_stop_the_run(small_run, copied: Settings) -> None:
    shutil.rmtree(copied.artifacts_dir)
    shutil.rmtree(copied.data_dir / "shards")
    path = find(copied.data_dir, "splits/*")
    flip(path)
    damaged = path.read_bytes()
    with (
        serve(copied.data_dir / "site", small_run.port),
        pytest.raises(DatasetError, match=rf"{path.name} is damaged .*Restore the file from a backup"),
    ):
        train(copied)
    assert path.read_bytes() == damaged


def test_stages_run_again_after_a_repair_but_not_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    repairs = [RepairedError("a is damaged"), RepairedError("b is damaged")]

    def run_stages() -> str:
        if repairs:
            raise repairs.pop(0)
        return "done"

    assert repeat_repaired(run_stages) == "done"
    assert caplog.messages == [f"the stages run again, finished work is kept: {name} is damaged" for name in ("a", "b")]
    repairs += [RepairedError(f"{number} is damaged") for number in range(4)]
    with pytest.raises(RepairedError, match="3 is damaged"):
        repeat_repaired(run_stages)


def test_the_doctor_finds_and_mends_what_is_damaged(copied: Settings) -> None:
    data = copied.data_dir
    assert {check.state for check in check_data(copied)} == {"whole"}
    expected = {
        find(data, "splits/*"): "mended",
        find(data, "shards/*-train-*"): "removed",
        sorted(data.glob("features/*/*.parquet"))[0]: "removed",
        find(data, "features/*/gathered-*"): "removed",
        find(data, "training/fast-*[!s]"): "removed",
        data / "evaluation": "removed",
        data / "export": "removed",
    }
    splits = find(data, "splits/*").read_bytes()
    for path in expected:
        flip(path if path.is_file() else max(path.rglob("*"), key=lambda file: file.stat().st_size))
    checks = check_data(copied)
    assert {check.path: check.state for check in checks if check.state != "whole"} == expected
    assert all(bool(check.reason) == (check.state != "whole") for check in checks)
    assert find(data, "splits/*").read_bytes() == splits
    assert {path: path.exists() for path in expected} == {path: state == "mended" for path, state in expected.items()}
    assert {check.state for check in check_data(copied)} == {"whole"}
