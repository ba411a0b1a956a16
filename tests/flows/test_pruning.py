"""Old models, results, logs and flow runs are removed after a run, and by hand."""

import logging
import os
import time
from pathlib import Path
from uuid import uuid4

import pytest
from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import flow_runs
from flows.flow_runs import prune_flow_runs
from flows.pruning import prune, prune_after_run, prune_by_hand
from flows.storing import StoredData, stored_data
from tasks.errors import LockedError, SettingsError
from tasks.model_folder import ModelFolder
from tasks.registry.models import list_models
from tasks.settings import RegistrySettings, RetentionSettings, Settings
from tasks.storage.lease import leased
from tasks.storage.objects import ObjectStore

IDS = [f"2026010{day}-060000-00000{day}" for day in range(1, 6)]


@flow(name="train")
def train_nothing(settings: Settings, *, fail: bool = False) -> None:
    create_markdown_artifact("# Report", key=f"report-{uuid4().hex}")
    if fail:
        raise ValueError("failed")


@flow(name="train")
def other_project(epochs: int) -> None:
    """A flow of the same name."""


@pytest.fixture
def settings(tmp_path: Path, prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    # Not `data`: runs of other tests may have had that, which is this folder where it is read as relative to here.
    settings = Settings(
        data_dir=tmp_path / "kept",
        artifacts_dir=tmp_path / "artifacts",
        registry=RegistrySettings(keep_models=3),
        retention=RetentionSettings(keep_days=9),
    )
    for model_id in IDS:
        model = ModelFolder(settings.artifacts_dir / "models" / model_id)
        model.path.mkdir(parents=True)
        model.metrics_path.write_text('{"inputs": {"heads": ["new"]}}')
        model.write_manifest({"id": model_id, "features": "net"})
    for name in ("features/net/1", "features/other/1", "training/old/1", "training/new/1", "logs/1.jsonl"):
        path = settings.data_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
        os.utime(path, (time.time() - 10 * 86_400,) * 2)
    (settings.data_dir / "logs" / "2.jsonl").touch()
    return settings


REMOVED = [
    *(f"artifacts/models/{model_id}" for model_id in IDS[:2]),
    *("kept/logs/1.jsonl", "kept/training/old", "kept/features/other"),
]


def test_only_what_is_listed_is_removed(settings: Settings) -> None:
    listed = prune_by_hand(settings, dry_run=True)
    assert [str(each.path.relative_to(Path.cwd())) for each in listed.removed] == REMOVED
    before = set(Path().rglob("*"))
    assert prune_by_hand(settings, dry_run=False) == listed
    gone = {path for path in before if any(path.is_relative_to(name) for name in REMOVED)}
    expected = before - gone
    assert {path for path in Path().rglob("*") if not path.name.startswith(".lock")} == expected
    assert prune(settings).describe() == "nothing"


def test_nothing_is_removed_if_all_is_to_be_kept(settings: Settings) -> None:
    update = {"registry": RegistrySettings(keep_models=None), "retention": RetentionSettings(keep_days=None)}
    assert prune(settings.model_copy(update=update)).describe() == "nothing"
    assert len(list_models(settings.artifacts_dir)) == 5


def test_one_line_of_what_was_freed(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    prune_after_run(settings, StoredData(settings))
    prune_after_run(settings, StoredData(settings))
    lines = [record.getMessage() for record in caplog.records if record.name == "flows.pruning"]
    assert len(lines) == 1
    assert lines[0].startswith("retention: removed 2 models, 1 logs, 1 trained heads, 1 features of other networks: ")


def test_objects_of_a_store_that_no_manifest_names_are_removed(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings = settings.model_copy(
        update={"store": str(tmp_path / "store"), "retention": RetentionSettings(keep_days=0)}
    )
    with stored_data(settings) as stored:
        stored.commit("catalog", "posters", "splits", "shards", "features")
        left = tmp_path / "store" / "data" / "posters" / "part-00000-of-00001-0000.parquet"
        left.parent.mkdir(parents=True, exist_ok=True)
        left.write_bytes(b"of a killed worker")
        prune_after_run(settings, stored)
    assert not left.exists()
    assert "retention: removed 1 objects of the store that no manifest names" in caplog.messages


def test_by_hand_the_store_s_garbage_is_removed_under_the_lease(settings: Settings, tmp_path: Path) -> None:
    settings = settings.model_copy(update={"store": str(tmp_path / "store")})
    store = ObjectStore(str(settings.data_store))
    with stored_data(settings) as stored:
        stored.commit("splits", "features")
    for name in ("posters/old.parquet", "posters/new.parquet"):
        store.write(name, b"of a killed worker")
    os.utime(tmp_path / "store" / "data" / "posters" / "old.parquet", (time.time() - 10 * 86_400,) * 2)
    prune_by_hand(settings, dry_run=True)
    with leased(store, "another run", seconds_between_signs=0.2):
        freed = prune_by_hand(settings, dry_run=False)
    (problem,) = freed.problems
    assert "is in use by another run" in problem
    assert store.list_names("posters") == ["new.parquet", "old.parquet"]
    assert prune_by_hand(settings, dry_run=False).problems == ()
    assert store.list_names("posters") == ["new.parquet"]


def test_a_part_that_fails_is_one_warning_and_does_not_stop_the_others(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    (settings.artifacts_dir / "champion.json").write_text("{")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):  # nothing listens there
        prune_after_run(settings, StoredData(settings))
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.startswith("retention: not everything could be removed: ")
    assert "champion.json does not name" in warning
    assert "onnect" in warning
    assert len(list_models(settings.artifacts_dir)) == 5
    assert not (settings.data_dir / "training" / "old").exists()


def test_by_hand_it_waits_for_a_run(settings: Settings, hold_lock) -> None:
    with hold_lock(settings.data_dir.resolve(), "another run"):
        with pytest.raises(LockedError, match="kept is in use by another run"):
            prune_by_hand(settings, dry_run=False)
        assert len(prune_by_hand(settings, dry_run=True).removed) == len(REMOVED)
    with pytest.raises(SettingsError, match="no folder nowhere: expected that of earlier runs"):
        prune_by_hand(settings.model_copy(update={"data_dir": Path("nowhere")}), dry_run=False)


def read_runs(ids: list[str]) -> tuple[int, int]:
    """Returns how many of these flow runs the server has, and how many artifacts of theirs."""
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=ids)))
        of_runs = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=ids))
        artifacts = client.read_artifacts(artifact_filter=of_runs)
    # Prefect adds one for the result of a failed run.
    return len(runs), len([artifact for artifact in artifacts if str(artifact.key).startswith("report-")])


def test_flow_runs_of_these_folders_are_removed_the_oldest_first(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = settings.model_copy(update={"data_dir": tmp_path / "elsewhere"})
    states = [
        train_nothing(settings, return_state=True),
        train_nothing(settings, fail=True, return_state=True),
        train_nothing(settings, return_state=True),
        train_nothing(elsewhere, return_state=True),
        other_project(3, return_state=True),
    ]
    ids = [str(state.state_details.flow_run_id) for state in states]
    assert prune_flow_runs(settings, 9) == 0
    assert prune_flow_runs(settings, 0, dry_run=True) == 3
    assert read_runs(ids) == (5, 4)
    monkeypatch.setattr(flow_runs, "MAX_FLOW_RUNS", 2)
    monkeypatch.setattr(flow_runs, "_PAGE", 1)
    monkeypatch.setattr(flow_runs, "_MAX_PAGES", 1000)
    assert prune_flow_runs(settings, 0) == 2
    assert (read_runs(ids[:2]), read_runs(ids[2:])) == ((0, 0), (3, 2))
    assert prune_flow_runs(settings, 0) == 1
    assert read_runs(ids) == (2, 1)


def test_a_run_under_way_is_not_removed(settings: Settings) -> None:
    @flow(name="train")
    def prune_inside(settings: Settings) -> int:
        return prune_flow_runs(settings, 0)

    assert prune_inside(settings) == 0
