"""Ctrl-C and SIGTERM: a command ends within seconds, prints how to go on, and leaves no process behind."""

import atexit
import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_MESSAGE = b"poster-genres: interrupted; run it again to go on where it was\n"
# Time for the main thread to unwind, in which Prefect marks the run as crashed; it mostly takes a fraction of it. The
# longest time in which the main thread lets no other thread run, in a call of TensorFlow's, is 1.4 s.
_GRACE_SECONDS = 1.0


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Makes SIGINT, SIGTERM and SIGHUP end the process, from now on, whatever it does.

    At the first signal the message is printed, nothing else is printed any more, and the main thread gets a
    `KeyboardInterrupt` (or Prefect's `TerminationSignal`). When the block has ended because of it, or after
    `_GRACE_SECONDS`, or at a second signal, all processes that this one started are killed, and it ends with the exit
    code 128 + number of the signal. What it was writing is safe: files appear whole or not at all, and locks are the
    operating system's.

    A signal that is ignored stays ignored, as in the background of a script or under nohup. A nested block does
    nothing. Child processes are found in /proc: where there is none, the downloads end by themselves, and a temporary
    server of Prefect's only if the main thread unwinds in time.
    """
    if _ending.is_watching:
        yield
        return
    _ending.watch()
    _ending.is_in_block = True
    try:
        yield
    finally:
        _ending.is_in_block = False
        _ending.end_if_interrupted()


def is_interrupted() -> bool:
    """Returns whether a signal that ends the process has arrived."""
    return _ending.is_interrupted


def is_command() -> bool:
    """Returns whether a command is running, in the block of `ending_on_signals`: the process ends with it."""
    return _ending.is_in_block


def end_process(code: int) -> NoReturn:
    """Kills all processes that this one started, and ends it at once, whatever its threads do."""
    _kill_descendants()
    os._exit(code)


@contextmanager
def other_handling() -> Iterator[None]:
    """Leaves the signals to handlers of the block's own."""
    pipe = signal.set_wakeup_fd(-1)
    try:
        yield
    finally:
        signal.set_wakeup_fd(pipe)


class _Ending:
    """The end of this process by a signal.

    A thread waits for the signals, since Python runs handlers in the main thread only, and only between two of its
    instructions, which can be many seconds apart. The interpreter writes each signal's number to a pipe at once,
    whoever has set the handler: Prefect replaces that of SIGTERM while a flow runs.
    """

    def __init__(self) -> None:
        self.is_watching = False
        self.is_in_block = False
        self._received: int | None = None
        self._is_raised = False
        self._end_once = threading.Lock()

    def watch(self) -> None:
        self.is_watching = True
        handled = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        for number in handled:
            signal.signal(number, self._interrupt_main_thread)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        threading.Thread(target=self._wait_for_signals, args=(reading, handled), name="signals", daemon=True).start()
        # For a signal that arrives while the process ends by itself: registered first, so it runs last.
        atexit.register(self.end_if_interrupted)

    @property
    def is_interrupted(self) -> bool:
        return self._received is not None or self._is_raised

    def end_if_interrupted(self) -> None:
        if self.is_interrupted:
            self._end()

    def _interrupt_main_thread(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        # Once: the unwinding is not to be interrupted itself.
        if not self._is_raised:
            self._is_raised = True
            raise KeyboardInterrupt

    def _wait_for_signals(self, reading: int, handled: Collection[int]) -> None:
        while (number := os.read(reading, 1)[0]) not in handled:
            pass  # SIGALRM of a task's time limit, for example
        # Lines about what is killed now, and tracebacks of the threads that waited for it, tell the user nothing.
        stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)
        # In a terminal, after a line of progress, or "^C".
        message = b"\n" + _MESSAGE if os.isatty(stderr) else _MESSAGE
        with contextlib.suppress(OSError):  # no terminal any more, after a SIGHUP
            os.write(stderr, message)
        self._received = number
        deadline = time.monotonic() + _GRACE_SECONDS
        while select.select([reading], [], [], max(0.0, deadline - time.monotonic()))[0]:
            if os.read(reading, 1)[0] in handled:
                break
        self._end()

    def _end(self) -> None:
        with self._end_once:  # never released: the other thread waits here until the process has ended
            while self._received is None:
                time.sleep(0.001)  # the main thread was faster than the one that prints the message
            end_process(128 + self._received)


_ending = _Ending()


def _kill_descendants() -> None:
    for _ in range(5):  # again, for processes that were just being started
        found = _find_descendants(os.getpid())
        if not found:
            return
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def _find_descendants(ancestor: int) -> set[int]:
    """Returns the ids of the living processes that a process started, and of those that they started in turn."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # "pid (name) state parent ...", where the name may have anything in it.
            state, parent = path.read_text("utf-8", "replace").rpartition(")")[2].split()[:2]
            if state not in "ZX":
                parents[int(path.parent.name)] = int(parent)
    descendants: set[int] = set()
    added = {ancestor}
    while added:
        added = {process for process, parent in parents.items() if parent in added} - descendants
        descendants |= added
    return descendants
