"""Progress in a terminal: one line for each stage that is running, below the log."""

import threading

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from tasks.inert import for_terminal
from tasks.progress import ProgressState

_REFRESHES_PER_SECOND = 2
_BAR_WIDTH = 20


class LiveProgress:
    """A reporter for `tasks.progress`: a live display on a console, as long as a stage is running.

    Args:
        console: A terminal, on which the log is printed, too, so that it scrolls above the display.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._display: Progress | None = None
        self._lines: dict[int, TaskID] = {}

    def __call__(self, state: ProgressState, /) -> None:
        with self._lock:
            if state.has_ended:
                self._remove(state)
            else:
                self._show(state)

    def _show(self, state: ProgressState) -> None:
        if not self._display:
            self._display = self._start()
        if state.number not in self._lines:
            self._lines[state.number] = self._display.add_task(state.stage, words="")
        words = for_terminal(state.describe())
        self._display.update(self._lines[state.number], completed=state.done, total=max(state.total, 1), words=words)

    def _remove(self, state: ProgressState) -> None:
        line = self._lines.pop(state.number, None)
        if not self._display or line is None:
            return
        self._display.remove_task(line)
        if not self._lines:
            self._display.stop()
            self._display = None

    def _start(self) -> Progress:
        display = Progress(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(_BAR_WIDTH),
            TimeElapsedColumn(),
            TextColumn("{task.fields[words]}", markup=False),
            console=self._console,
            transient=True,
            refresh_per_second=_REFRESHES_PER_SECOND,
        )
        display.start()
        # It is hidden while a display is on, and would stay so if the process were killed.
        self._console.show_cursor(True)
        return display
