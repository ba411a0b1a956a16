"""Prefect's old flow runs of this project: their removal from the server."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound

from tasks.settings import Settings

# A run is not to wait for the server: what is left is removed after the next run.
MAX_FLOW_RUNS = 50
_PAGE = 200
_MAX_PAGES = 10
_MAX_ARTIFACTS = 200  # of a run, which has a handful


def prune_flow_runs(settings: Settings, keep_days: float, *, dry_run: bool = False) -> int:
    """Removes flow runs that ended more than `keep_days` ago, the oldest first, with their artifacts and logs.

    Only those of this project's flows that worked in the folders of the settings: a server may have flows of other
    projects, and of other folders.

    Args:
        settings: Settings with the `data_dir` and the `artifacts_dir`.
        keep_days: Number of days.
        dry_run: Whether they are only counted.

    Returns:
        Their number, at most `MAX_FLOW_RUNS`.

    Raises:
        httpx.HTTPError: If the server does not answer, or refuses.
    """
    num_removed = 0
    with get_client(sync_client=True) as client:
        for run in list(_find_runs(client, settings, datetime.now(UTC) - timedelta(days=keep_days))):
            if dry_run or _remove(client, run):
                num_removed += 1
    return num_removed


def _find_runs(client: SyncPrefectClient, settings: Settings, ended_before: datetime) -> Iterator[FlowRun]:
    num_found = 0
    for page in range(_MAX_PAGES):
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["train", "compare", "demo", "label"])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=sorted(TERMINAL_STATES))),
                end_time=FlowRunFilterEndTime(before_=ended_before),
            ),
            sort=FlowRunSort.START_TIME_ASC,
            limit=_PAGE,
            offset=page * _PAGE,
        )
        for run in runs:
            if num_found < MAX_FLOW_RUNS and _is_of(settings, run.parameters):
                num_found += 1
                yield run
        if len(runs) < _PAGE or num_found == MAX_FLOW_RUNS:
            return


def _is_of(settings: Settings, parameters: Mapping[str, Any]) -> bool:
    """Whether a run with these parameters is one of this project's flows, in the folders of the settings.

    A relative folder counts as one of the working directory: the server does not know the run's.
    """
    given = parameters.get("settings")
    if "output_dir" in parameters:  # label
        default, expected = parameters.get("artifacts_dir", "artifacts"), settings.artifacts_dir
    elif isinstance(given, dict) and given.keys() <= Settings.model_fields.keys():  # train, compare
        default, expected = given.get("data_dir", "data"), settings.data_dir
    elif "num_films" in parameters:  # demo
        default, expected = parameters.get("data_dir", "data/sample"), settings.data_dir
    else:
        return False
    return Path(str(default)).resolve() == expected.resolve()


def _remove(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Removes a run; returns False if another process did. The server removes its tasks' runs and its log."""
    run_filter = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    try:
        # They are found by their run, and would stay without it.
        for artifact in client.read_artifacts(flow_run_filter=run_filter, limit=_MAX_ARTIFACTS):
            client.delete_artifact(artifact.id)
        client.delete_flow_run(run.id)
    except ObjectNotFound:
        return False
    return True
