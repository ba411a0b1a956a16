import logging

import pytest

from tasks.posters.progress import Progress


def test_last_line_has_counts_and_reasons(caplog: pytest.LogCaptureFixture) -> None:
    progress = Progress(total=4, seconds_between_lines=1000)
    with caplog.at_level(logging.INFO):
        progress.count({"": 1, "http 404": 1})
        progress.count({"http 404": 1, "timeout": 1})
    (line,) = caplog.messages
    assert line.startswith("posters: 4 of 4 (100%), ")
    assert line.endswith("0 s left; failed: http 404: 2, timeout: 1")


def test_a_line_at_each_interval(caplog: pytest.LogCaptureFixture) -> None:
    progress = Progress(total=3, seconds_between_lines=0)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            progress.count({"": 1})
    assert [line.split(" (")[0] for line in caplog.messages] == [f"posters: {n} of 3" for n in (1, 2, 3)]
