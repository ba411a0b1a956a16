import json
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Running

from flows.train import train
from flows.watching import crash_killed_runs, run_ids
from tasks.errors import CatalogError
from tasks.settings import CatalogSettings, Settings


@flow
def tell() -> list[str]:
    return run_ids()


@flow
def tell_of_both() -> tuple[list[str], list[str]]:
    return run_ids(), tell()


def test_a_run_knows_itself_and_what_it_is_a_part_of(prefect_server: None) -> None:
    parent, child = tell_of_both()
    assert len(parent) == 1
    assert len(child) == 2
    assert child[1:] == parent


def test_only_runs_that_the_server_takes_for_running_are_marked(prefect_server: None) -> None:
    with get_client(sync_client=True) as client:
        running = client.create_flow_run(tell, state=Running())
        (done,) = tell()
        crash_killed_runs([str(running.id), done, "00000000-0000-4000-8000-000000000000"])
        states = {run_id: client.read_flow_run(run_id).state for run_id in (running.id, done)}
        (artifact,) = [found for found in client.read_artifacts(limit=200) if found.flow_run_id == running.id]
    assert states[running.id].is_crashed()
    assert states[done].is_completed()
    assert artifact.key == "failure"
    assert "the next run continues where this one stopped" in str(artifact.data)


def test_a_killed_run_that_is_started_again_is_not_marked(prefect_server: None, tmp_path: Path) -> None:
    """The server starts it under the id that the killed process left in the lock."""
    settings = Settings(data_dir=tmp_path / "data", catalog=CatalogSettings(source="none.csv"))
    with get_client(sync_client=True) as client:
        killed = client.create_flow_run(tell, state=Running())
        settings.data_dir.mkdir()
        (settings.data_dir / ".lock.json").write_text(json.dumps({"about": {"runs": [str(killed.id)]}}))

        @flow
        def start_again() -> None:
            left = json.loads((settings.data_dir / ".lock.json").read_text())["about"]["runs"]
            (settings.data_dir / ".lock.json").write_text(json.dumps({"about": {"runs": [*left, *run_ids()]}}))
            with pytest.raises(CatalogError):
                train(settings)
            (own,) = run_ids()
            assert client.read_flow_run(own).state.is_running()

        start_again()
        assert client.read_flow_run(killed.id).state.is_crashed()
