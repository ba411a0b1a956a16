"""What a command prints of a run: this project's log lines, all warnings and errors, and live progress."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from flows.live_progress import LiveProgress
from tasks.progress import reporting_to

# Whose lines are about flow runs and task runs, which have random names.
_PREFECTS = ("prefect.flow_runs", "prefect.task_runs")
# Those of their errors that the command prints itself, in one line, when the flow has raised them.
_RAISED = ("Task run failed with exception", "Encountered exception during execution", "Finished in state")
_RETRIED = " will start "  # "Retry 1/3 will start 1 second(s) from now"
# "Still processing items: 1 items remaining...", when a process ends: after the error of the run.
_WAITING = "Still processing items"
_OWN = ("flows", "tasks")
_STYLES = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "bold red"}

logger = logging.getLogger(__name__)


@contextmanager
def run_output(*, is_flow: bool = True) -> Iterator[None]:
    """Prints own lines, from now on, and in the block the progress of running stages, where there is a terminal.

    Args:
        is_flow: Whether the block runs a flow, which needs a Prefect server.
    """
    console = show_own_lines()
    if is_flow:
        _announce_server()
    if not console.is_terminal or console.is_dumb_terminal:
        yield
        return
    with reporting_to(LiveProgress(console)):
        yield


def show_own_lines() -> Console:
    """Replaces Prefect's handler of standard error in this process, from now on, by one that prints fewer lines.

    Log files and Prefect's server get all lines as before. A worker's processes do not call this: what they print is
    Prefect's. Nothing changes where the user has a logging configuration of his own (`PREFECT_LOGGING_SETTINGS_PATH`).

    Returns:
        The console that they are printed on.
    """
    import prefect.main  # noqa: F401  (sets up Prefect's logging)
    from prefect.logging.handlers import PrefectConsoleHandler

    console = Console(stderr=True)
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, PrefectConsoleHandler):
            root.removeHandler(handler)
            root.addHandler(TerminalHandler(console))
    return console


def _announce_server() -> None:
    """Logs that a run starts a server of its own, if none is configured, since nothing else is printed meanwhile."""
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        logger.info("starting a temporary Prefect server, some seconds; PREFECT_API_URL names one that runs already")


class TerminalHandler(logging.Handler):
    """Prints time and message of a log line, and the level of a warning or an error.

    Args:
        console: Where it prints. A terminal gets no lines of progress, which `LiveProgress` shows there.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self.setFormatter(logging.Formatter(datefmt="%H:%M:%S"))
        self.addFilter(is_shown)
        if console.is_terminal and not console.is_dumb_terminal:
            self.addFilter(lambda record: not hasattr(record, "progress"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = Text(f"{self._time(record)} ", "dim")
            level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
            # No markup: titles and addresses are in it.
            line.append(level + self.format(record), _STYLES.get(record.levelno, "not dim"))
            self.console.print(line, soft_wrap=True)
        except (TypeError, ValueError, OSError):  # a message that does not fit its arguments; a closed stream
            self.handleError(record)

    def _time(self, record: logging.LogRecord) -> str:
        assert self.formatter
        return self.formatter.formatTime(record, self.formatter.datefmt)


def is_shown(record: logging.LogRecord) -> bool:
    """Returns whether a terminal shows a log record."""
    if record.name not in _PREFECTS:
        if record.getMessage().startswith(_WAITING):
            return False
        return record.levelno >= logging.WARNING or record.name.partition(".")[0] in _OWN
    message = record.getMessage()
    if _RETRIED in message:
        return True
    return record.levelno >= logging.WARNING and not message.startswith(_RAISED)
