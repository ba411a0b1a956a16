"""What the server is told of runs that ended badly."""

import logging
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run as current_run
from prefect.states import Crashed

logger = logging.getLogger(__name__)


def report_failure(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """Says in an artifact of a run that failed, crashed or was cancelled why it did: a hook for flows."""
    reason = (state.message or "no reason was given").replace("Flow run encountered an exception: ", "")
    with get_client(sync_client=True) as client:
        _show_failure(client, flow_run, state, reason)


def _show_failure(client: SyncPrefectClient, run: FlowRun, state: State[Any], reason: str) -> None:
    if state.is_crashed():
        reason += "\n\nWhat was finished is kept: the next run goes on where this one stopped."
    client.create_artifact(
        ArtifactCreate(
            key="failure",
            type="markdown",
            description=f"Why {run.name} ended as {state.name}",
            data=f"# {state.name}\n\n```\n{reason}\n```\n",
            flow_run_id=run.id,
        )
    )


def run_ids() -> list[str]:
    """Returns the ids of the flow run this is called in, and of the runs it is a part of."""
    found = (current_run.get_id(), current_run.get_parent_flow_run_id(), current_run.get_root_flow_run_id())
    return list(dict.fromkeys(run_id for run_id in found if run_id))


def crash_killed_runs(ids: Iterable[str]) -> None:
    """Marks runs whose process is known to be gone as crashed, where the server still takes them for running.

    A worker tells the server of a run that was killed, but one without a worker, or killed with it, can't.
    """
    with get_client(sync_client=True) as client:
        for run_id in ids:
            try:
                run = client.read_flow_run(UUID(run_id))
            except ObjectNotFound:
                continue  # the run was on another server
            if run.state and not run.state.is_final():
                reason = "Its process was killed: a later run found what it left behind."
                state: State[Any] = Crashed(message=reason)
                client.set_flow_run_state(run.id, state, force=True)
                _show_failure(client, run, state, reason)
                logger.warning("run %s was killed: marked as crashed, and going on where it stopped", run.name)
