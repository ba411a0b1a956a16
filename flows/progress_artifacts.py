"""Progress in Prefect's dashboard: an artifact for each long stage, which is updated while it runs."""

import contextvars
import logging
import threading
from types import TracebackType
from typing import Self, cast
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException

from tasks.errors import one_line
from tasks.inert import for_markdown
from tasks.progress import ProgressState

logger = logging.getLogger(__name__)

_SECONDS_TO_END = 5.0


class ProgressArtifacts:
    """A reporter for `tasks.progress`: the artifacts `progress-posters` and so on of the current flow run.

    A call to the server takes tens of milliseconds, or fails. So a thread makes them, one for each running stage at an
    interval; a stage that ends within one has no artifact; and after an error, which is a warning, there are no more
    calls. A context manager, entered within a flow: its end waits for the last call, for some seconds at most.

    Args:
        seconds_between_calls: Interval between two calls for a stage.
    """

    def __init__(self, seconds_between_calls: float = 2.0) -> None:
        self._seconds_between_calls = seconds_between_calls
        self._newest: dict[int, ProgressState] = {}
        self._seen: set[int] = set()
        self._artifacts: dict[int, UUID] = {}
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        # The flow run, to which the artifacts belong, is in the context.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._call_repeatedly,), name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        # An interrupted run is to end at once.
        if self._thread and (kind is None or issubclass(kind, Exception)):
            self._thread.join(_SECONDS_TO_END)

    def __call__(self, state: ProgressState, /) -> None:
        with self._lock:
            self._newest[state.number] = state

    def _call_repeatedly(self) -> None:
        has_ended = False
        while not has_ended:
            has_ended = self._end.wait(self._seconds_between_calls)
            with self._lock:
                states, self._newest = self._newest, {}
            try:
                for state in states.values():
                    self._show(state)
            # The last: the flow has closed the client that it shares with this thread, which was too slow.
            except (httpx.HTTPError, PrefectException, OSError, RuntimeError) as problem:
                logger.warning("the dashboard gets no more progress of this run: %s", one_line(problem))
                return

    def _show(self, state: ProgressState) -> None:
        description = for_markdown(state.describe())
        if artifact_id := self._artifacts.get(state.number):
            update_progress_artifact(artifact_id, state.percent, description)
        elif state.has_ended:
            pass  # a short one
        elif state.number in self._seen:
            created = create_progress_artifact(state.percent, f"progress-{state.stage}", description)
            self._artifacts[state.number] = cast(UUID, created)  # not a coroutine: there is no event loop
        else:
            self._seen.add(state.number)
            with self._lock:
                self._newest.setdefault(state.number, state)  # for the next time, if there is no newer one
