"""The time limit of a run: one that hangs ends, so that it does not hold up the next ones."""

import contextvars
import faulthandler
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from flows.interruption import end_process, is_command, is_interrupted
from flows.watching import end_runs, run_ids
from tasks.errors import PosterGenresError

logger = logging.getLogger(__name__)

_ROOT = Path(__file__).resolve().parents[1]
# Prefect's tasks use SIGALRM for time limits of their own.
_SIGNAL = signal.SIGUSR1
# From the limit to the end of the process, in which the run unwinds, its state is set, and a notification is sent.
_UNWIND_SECONDS = 60.0
_TELL_SECONDS = 20.0


class TimeLimitError(PosterGenresError, TimeoutError):
    """A run took longer than it may. Prefect marks a run that ends with a `TimeoutError` as timed out."""

    exit_code = 1


class _ReachedError(BaseException):
    """Raised in the main thread: no `Exception`, which a task would take for a failure of its own, and try again."""


@contextmanager
def time_limit(max_hours: float) -> Iterator[None]:
    """Ends the block, and if need be the process, after some hours.

    First an exception is raised in the main thread, which ends whatever waits. If the process is there for this run
    alone (a command, or a worker's process) and has not ended `_UNWIND_SECONDS` later, because the main thread is
    in a call that does not return, another thread marks the run as timed out, kills the processes that it started, and
    ends the process. If no thread can run any more, faulthandler ends it, with the stacks of all threads on stderr;
    what it had started stays, and the worker, or the next run, marks the run as crashed.

    In other threads than the main one there is no limit, since only that one can be interrupted; a line says so.

    Raises:
        TimeLimitError: The time is over.
    """
    if threading.current_thread() is not threading.main_thread():
        logger.warning("no time limit: the run is not in the main thread of its process")
        yield
        return
    limit = _Limit(max_hours)
    try:
        yield
        limit.leave(successfully=True)
    except BaseException:
        limit.leave(successfully=False)
        if limit.is_reached and not is_interrupted():
            raise TimeLimitError(limit.message) from None
        raise


class _Limit:
    """The threads that wait for the end of the block, and of the process."""

    def __init__(self, max_hours: float) -> None:
        self._max_hours = max_hours
        self._is_inside = True
        self._has_left = threading.Event()
        self._has_succeeded = threading.Event()
        self._change = threading.Lock()
        self._place = "an unknown place"
        self.is_reached = False
        # A worker's process has its run's id in the environment.
        self._is_own_process = is_command() or "PREFECT__FLOW_RUN_ID" in os.environ
        self._previous = signal.signal(_SIGNAL, self._raise)
        if self._is_own_process:
            faulthandler.dump_traceback_later(max_hours * 3600 + 2 * _UNWIND_SECONDS, exit=True, file=2)
        # With the context, in which Prefect has the run and its server.
        target = contextvars.copy_context().run
        threading.Thread(target=target, args=(self._watch,), name="time limit", daemon=True).start()

    @property
    def message(self) -> str:
        return (
            f"the run took longer than {self._max_hours:g} hours (max_hours), and was in {self._place}: "
            "run it again to go on where it was, or set max_hours higher"
        )

    def leave(self, *, successfully: bool) -> None:
        self._is_inside = False  # first: from here on the signal does nothing
        with self._change:
            self._has_left.set()
            signal.signal(_SIGNAL, self._previous)
        if successfully:
            self._has_succeeded.set()
        if self._is_own_process and (successfully or not self.is_reached):
            faulthandler.cancel_dump_traceback_later()

    def _raise(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._is_inside:
            self._is_inside = False
            raise _ReachedError(self.message)

    def _watch(self) -> None:
        if self._has_left.wait(self._max_hours * 3600):
            return
        main_thread = threading.main_thread().ident
        assert main_thread is not None
        with self._change:
            if self._has_left.is_set():
                return
            self._place = _describe_place(find_frame(main_thread))
            self.is_reached = True
            signal.pthread_kill(main_thread, _SIGNAL)
        if self._is_own_process and not self._has_succeeded.wait(_UNWIND_SECONDS):
            self._end()

    def _end(self) -> None:
        """Ends the process. The server is told by another thread, should it not answer."""
        context = contextvars.copy_context()
        telling = threading.Thread(target=context.run, args=(self._tell,), name="time limit, end", daemon=True)
        telling.start()
        telling.join(_TELL_SECONDS)
        os.write(2, f"poster-genres: {self.message}\n".encode())
        end_process(TimeLimitError.exit_code)

    def _tell(self) -> None:
        from prefect.states import Failed

        end_runs(run_ids(), Failed(name="TimedOut", message=self.message))


def find_frame(thread: int) -> FrameType | None:
    """Returns the frame in which a thread is, by the thread's `ident`."""
    # A collection within the call can stop the process for good before Python 3.11.12:
    # https://github.com/python/cpython/issues/106883
    is_collecting = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames().get(thread)
    finally:
        if is_collecting:
            gc.enable()


def _describe_place(frame: FrameType | None) -> str:
    """Returns the innermost function of this project that a thread is in."""
    while frame:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(_ROOT / "tasks") or path.is_relative_to(_ROOT / "flows"):
            return f"{frame.f_code.co_name} ({path.relative_to(_ROOT)}, line {frame.f_lineno})"
        frame = frame.f_back
    return "code of another package"
