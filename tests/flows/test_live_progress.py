import io
import logging
import re

import pytest
from rich.console import Console

from flows.live_progress import LiveProgress
from flows.terminal import TerminalHandler
from tasks.progress import Progress, reporting_to

SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"


def make_console(width: int = 100) -> tuple[Console, io.StringIO]:
    output = io.StringIO()
    return Console(file=output, force_terminal=True, width=width, color_system=None, _environ={}), output


def take_lines(output: io.StringIO) -> list[str]:
    """Returns the lines that were printed since the last call, without control sequences."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.getvalue())
    output.seek(0)
    output.truncate()
    return [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]


def test_running_stages_have_a_line_each_until_they_end() -> None:
    console, output = make_console()
    live = LiveProgress(console)
    with reporting_to(live):
        with Progress("posters", 1200) as posters:
            posters.count({"": 290, "http 404": 10})
            assert live._display
            live._display.refresh()
            (line,) = take_lines(output)[-1:]
            assert re.fullmatch(r"posters ━+ +0:00:00 300 of 1,200 \(25%\), .*/s, .* left; failed: http 404: 10", line)
            with Progress("features", 4, "images [bold]") as features:
                features.advance()
                live._display.refresh()
                assert [line.partition(" ")[0] for line in take_lines(output)[-2:]] == ["posters", "features"]
                assert "1 of 4 images [bold] (25%)" in live._display.tasks[1].fields["words"]
            live._display.refresh()
            assert take_lines(output)[-1].startswith("posters")
        assert live._display is None
    shown = output.getvalue()
    assert shown.rfind(SHOW_CURSOR) > shown.rfind(HIDE_CURSOR)


def test_cursor_stays_visible_while_a_stage_runs() -> None:
    console, output = make_console()
    with reporting_to(LiveProgress(console)), Progress("posters", 2):
        shown = output.getvalue()
    assert shown.rfind(SHOW_CURSOR) > shown.rfind(HIDE_CURSOR)


def test_log_lines_are_above_it_without_those_of_progress(caplog: pytest.LogCaptureFixture) -> None:
    console, output = make_console()
    handler = TerminalHandler(console)
    logger = logging.getLogger("tasks.posters")
    logger.addHandler(handler)
    try:
        with caplog.at_level(logging.INFO), reporting_to(LiveProgress(console)):
            with Progress("posters", 2, seconds_between_lines=0) as progress:
                progress.advance()
                logger.info("some words")
            lines = take_lines(output)
    finally:
        logger.removeHandler(handler)
    assert len(caplog.messages) == 3
    logged = [line.partition(" ")[2] for line in lines if re.match(r"\d\d:\d\d:\d\d ", line)]
    assert logged[0] == "some words"
    assert logged[1].startswith("posters: 1 of 2 in 0 s")  # the last one, when the display is gone
    assert len(logged) == 2


def test_failed_stage_leaves_no_line() -> None:
    console, _ = make_console()
    live = LiveProgress(console)
    with reporting_to(live), pytest.raises(OSError, match="gone"), Progress("posters", 2):
        raise OSError("gone")
    assert live._display is None
