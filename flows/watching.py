"""Report failed, crashed and cancelled runs to the Prefect server, and by a notification."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run as current_run
from prefect.states import Crashed

from flows.interruption import is_interrupted
from flows.notification import notify_of_failure
from tasks.web.addresses import redact

logger = logging.getLogger(__name__)

# Prefect's, before the message of an exception.
_PREFIXES = ("Flow run encountered an exception: ", "Flow run failed due to timeout: ")


def report_failure(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """Creates an artifact with the reason why a run failed, crashed or was cancelled: a hook for flows.

    A notification is sent, too, except of a run that somebody cancelled.
    """
    reason = state.message or "no reason given"
    for prefix in _PREFIXES:
        reason = reason.replace(prefix, "")
    reason = redact(reason)
    with get_client(sync_client=True) as client:
        _show_failure(client, flow_run, state, reason)
    if not state.is_cancelled():
        notify_of_failure(flow_run, state, reason)


def _show_failure(client: SyncPrefectClient, run: FlowRun, state: State[Any], reason: str) -> None:
    if state.is_crashed():
        reason += "\n\nFinished work is kept: the next run continues where this one stopped."
    client.create_artifact(
        ArtifactCreate(
            key="failure",
            type="markdown",
            description=f"Why {run.name} ended as {state.name}",
            data=f"# {state.name}\n\n```\n{reason.replace('`', chr(39))}\n```\n",  # no backtick ends the block
            flow_run_id=run.id,
        )
    )


def run_ids() -> list[str]:
    """Returns the ids of the current flow run and of its parents."""
    found = (current_run.get_id(), current_run.get_parent_flow_run_id(), current_run.get_root_flow_run_id())
    return list(dict.fromkeys(run_id for run_id in found if run_id))


@contextmanager
def crashed_when_interrupted() -> Iterator[None]:
    """Marks the current run and its parents as crashed when a signal to the command line ends the block.

    Prefect does, too, but only after up to a second of waiting for each run's heartbeat, and the process ends sooner.
    """
    try:
        yield
    except BaseException:
        if is_interrupted():
            # Without a notification, which may take longer than the process has: who sent the signal knows.
            end_runs(run_ids(), Crashed(message="Interrupted by a signal."), with_notification=False)
        raise


def crash_killed_runs(ids: Iterable[str]) -> None:
    """Marks runs as crashed whose process no longer exists, but whose state on the server is still running.

    A worker reports a killed run to the server; a run without a worker, or killed together with it, is not reported.
    """
    for name in end_runs(ids, Crashed(message="Its process was killed: a later run found its lock.")):
        logger.warning("run %s was killed: marked as crashed, continuing where it stopped", name)


def end_runs(ids: Iterable[str], state: State[Any], *, with_notification: bool = True) -> list[str]:
    """Sets the final state of those of the runs that the server takes for running, and returns their names.

    Args:
        ids: Ids of runs.
        state: The final state; its message is the reason.
        with_notification: Whether a notification is sent of each.
    """
    names: list[str] = []
    reason = state.message or ""
    if not (ids := list(ids)):
        return names  # without a client, which would start a server where there is none
    with get_client(sync_client=True) as client:
        for run_id in ids:
            try:
                run = client.read_flow_run(UUID(run_id))
            except ObjectNotFound:
                continue  # the run was on another server
            if run.state and not run.state.is_final():
                client.set_flow_run_state(run.id, state, force=True)
                _show_failure(client, run, state, reason)
                if with_notification:
                    notify_of_failure(run, state, reason)
                names.append(run.name)
    return names
