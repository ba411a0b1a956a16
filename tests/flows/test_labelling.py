"""Predictions of `label` in processes and on a Dask cluster: those of threads, also when workers are killed."""

import logging
import multiprocessing
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from dask_cluster import run_cluster
from deadly_image import deadly_image

from flows import labelling
from flows.label import label
from flows.runners import RunnerError
from tasks.errors import RepairedError
from tasks.features.litert import LiteRTNetwork
from tasks.prediction import pieces, predictor
from tasks.prediction.labelling import FILES, Labelled
from tasks.prediction.pieces import LocalFiles, PiecePlan
from tasks.prediction.predictors import PredictorKey, find_predictor
from tasks.progress import ProgressState, reporting_to
from tasks.sample.server import serve
from tasks.settings import PosterSettings, RunnerSettings

PROCESSES = RunnerSettings(kind="processes", workers=2)
LOOPBACK = PosterSettings(allow_private_hosts=("127.0.0.1",))

pytestmark = pytest.mark.backbone


@pytest.fixture
def catalog(small_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A CSV of ten addresses, twenty-five files by their relative names, a broken file, and no name."""
    monkeypatch.setattr(pieces, "_FILES_PER_PIECE", 10)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "posters").mkdir()
    files = [Path(shutil.copy(poster, "posters")) for poster in small_run.posters[10:35]]
    Path("posters/broken.jpg").write_bytes(files[0].read_bytes()[:1000])
    with serve(small_run.data_dir / "site") as base_url:
        addresses = [f"{base_url}/posters/{poster.name}" for poster in small_run.posters[:10]]
        rows = "".join(f"{image},1\n" for image in [*addresses, *files, "posters/broken.jpg", ""])
        Path("catalog.csv").write_text(f"Poster,imdbId\n{rows}")
        yield Path("catalog.csv")


def label_with(small_run, catalog: Path, folder: Path, runner: RunnerSettings) -> Labelled:
    return label(str(catalog), folder, "champion", small_run.artifacts_dir, LOOPBACK, runner=runner)


def read_files(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in FILES]


def list_pieces(folder: Path) -> dict[str, int]:
    """Returns the pieces by name, with the time at which each was written."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "work" / "pieces").iterdir()}


def test_processes_predict_what_threads_do(small_run, catalog: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = Path("labels")
    labelled = label_with(small_run, catalog, folder, RunnerSettings())
    (error,) = labelled.errors.keys() - {"no poster address"}
    assert labelled == Labelled(folder, 35, {error: 1, "no poster address": 1})
    by_threads, names = read_files(folder), set(list_pieces(folder))
    assert {name.rpartition("-")[0] for name in names} == {"part-00000", "files-00000", "files-00001", "files-00002"}
    shutil.rmtree(folder / "work" / "pieces")

    seen: list[ProgressState] = []
    caplog.clear()
    with reporting_to(seen.append), caplog.at_level(logging.INFO):
        # One process, whose start takes most of the time.
        one = RunnerSettings(kind="processes", workers=1)
        assert label_with(small_run, catalog, folder, one) == labelled
    assert not multiprocessing.active_children()
    assert read_files(folder) == by_threads
    written = list_pieces(folder)
    assert set(written) == names
    (last,) = (state for state in seen if state.has_ended and state.stage == "prediction")
    assert (last.done, last.total, last.failures) == (37, 37, {error: 1, "no poster address": 1})
    lines = [record for record in caplog.records if "images predicted" in record.message]
    assert {vars(record)["part"] for record in lines} == {name.rpartition("-")[0] for name in names}
    assert all(vars(record)["worker"].startswith("process ") for record in lines)

    # What is finished starts no process, and is not predicted again.
    with caplog.at_level(logging.INFO):
        caplog.clear()
        label_with(small_run, catalog, folder, PROCESSES)
    assert "images predicted" not in caplog.text
    assert list_pieces(folder) == written
    assert read_files(folder) == by_threads


def test_a_worker_loads_the_model_once_and_shares_the_cores(small_run, monkeypatch: pytest.MonkeyPatch) -> None:
    cores = []

    class Network(LiteRTNetwork):
        def __init__(self, model: bytes, num_cores: int | None = None) -> None:
            cores.append(num_cores)
            super().__init__(model, num_cores)

    monkeypatch.setattr(predictor, "LiteRTNetwork", Network)
    key = replace(PredictorKey.describe(small_run.run.model.path, None), num_neighbours=1000)
    found = find_predictor(key)
    assert find_predictor(replace(key)) is found
    assert cores == [1]


@pytest.mark.cluster
def test_a_piece_that_kills_every_process_is_given_up_and_tried_by_the_next_run(
    small_run, catalog: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    label_with(small_run, catalog, Path("by_threads"), RunnerSettings())
    folder, deadly = Path("labels"), sorted((tmp_path / "posters").iterdir())[12]
    with deadly_image(deadly, 100) as killed:
        labelled = label_with(small_run, catalog, folder, PROCESSES)
    # Twice beside others, once alone.
    assert len(killed) == 3
    assert labelled.errors["worker died"] == 10
    assert caplog.text.count("files-00001 is given up for this run") == 1
    died = [row["image"] for row in pq.read_table(folder / FILES[0]).to_pylist() if row["error"] == "worker died"]
    assert f"posters/{deadly.name}" in died
    finished = list_pieces(folder)
    assert {name[:11] for name in finished} == {"part-00000-", "files-00000", "files-00002"}

    assert "worker died" not in label_with(small_run, catalog, folder, RunnerSettings()).errors
    assert finished.items() <= list_pieces(folder).items()
    assert read_files(folder) == read_files(Path("by_threads"))


@pytest.mark.cluster
def test_a_killed_worker_of_a_cluster_changes_nothing(
    small_run, catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label_with(small_run, catalog, Path("by_threads"), RunnerSettings())
    deadly = sorted((tmp_path / "posters").iterdir())[12]
    (tmp_path / "cluster").mkdir()
    with run_cluster(tmp_path / "cluster") as cluster, deadly_image(deadly, 1) as killed:
        runner = RunnerSettings(kind="dask", address=cluster.address)
        label_with(small_run, catalog, Path("labels"), runner)
    assert len(killed) == 1
    assert read_files(Path("labels")) == read_files(Path("by_threads"))


def test_a_piece_in_a_folder_that_workers_do_not_share_is_one_line(tmp_path: Path) -> None:
    plan = PiecePlan("files-00000", tmp_path / "files-00000-0123.parquet", LocalFiles(["a.jpg"], "/", None))
    with pytest.raises(RunnerError, match=r"files-00000-0123.parquet is not there, though a worker has written it"):
        labelling._read_rows(plan)
    plan.path.write_bytes(b"PAR1")
    with pytest.raises(RepairedError, match="is damaged: run again, to predict"):
        labelling._read_rows(plan)
