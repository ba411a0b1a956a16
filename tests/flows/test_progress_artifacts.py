import logging
import time
from collections.abc import Callable
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import Artifact
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows import progress_artifacts
from flows.progress_artifacts import ProgressArtifacts
from tasks.progress import Progress, reporting_to

INTERVAL = 0.05


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(INTERVAL)


def read_artifacts(run_id: str) -> list[Artifact]:
    found = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(run_id)]))
    with get_client(sync_client=True) as client:
        return client.read_artifacts(artifact_filter=found)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The percentages that the server was given, by real calls."""
    given: list[float] = []
    for name in ("create_progress_artifact", "update_progress_artifact"):
        call = getattr(progress_artifacts, name)

        def watch(*arguments: object, call=call) -> object:
            given.append(next(argument for argument in arguments if isinstance(argument, float)))
            return call(*arguments)

        monkeypatch.setattr(progress_artifacts, name, watch)
    return given


def test_long_stage_has_an_artifact_that_is_updated_at_intervals(prefect_server: None, calls: list[float]) -> None:
    @flow
    def download() -> str:
        with ProgressArtifacts(INTERVAL) as artifacts, reporting_to(artifacts):
            with Progress("dataset", 1, "records") as short:
                short.advance()
            with Progress("posters", 1000) as progress:
                for _ in range(500):
                    progress.count({"": 1})
                wait_for(lambda: bool(calls))
                for _ in range(250):
                    progress.count({"http 404": 1})
        return str(flow_run.get_id())

    (artifact,) = read_artifacts(download())
    assert (artifact.key, artifact.type, artifact.data) == ("progress-posters", "progress", 75.0)
    assert artifact.description
    assert artifact.description.startswith("750 of 1,000 in 0 s, ")
    assert artifact.description.endswith("failed: http 404: 250")
    assert calls[-1] == 75.0
    assert len(calls) < 10  # of 751 states


@pytest.mark.filterwarnings("ignore:Artifact creation outside of a flow:FutureWarning")
def test_server_that_is_gone_is_one_warning(closed_port: int, caplog: pytest.LogCaptureFixture) -> None:
    """Not within a flow, whose own client is used for artifacts, too, and reaches its server."""
    gone = {PREFECT_API_URL: f"http://127.0.0.1:{closed_port}/api", PREFECT_CLIENT_MAX_RETRIES: 0}
    with (
        temporary_settings(gone),
        ProgressArtifacts(INTERVAL) as artifacts,
        reporting_to(artifacts),
        Progress("posters", 2) as progress,
    ):
        wait_for(lambda: bool(find_warnings(caplog)))
        progress.advance(2)
    (warning,) = find_warnings(caplog)
    assert warning.startswith("the dashboard gets no more progress of this run: ")


def find_warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and record.name == progress_artifacts.__name__
    ]
