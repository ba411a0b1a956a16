import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.progress import Progress, ProgressState, describe_seconds, reporting_to


def make_state(done: int = 300, seconds: float = 10.0, *, has_ended: bool = False, **failures: int) -> ProgressState:
    return ProgressState(0, "posters", "images", done, 1200, failures, seconds, has_ended)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (make_state(), "300 of 1,200 images (25%), 30/s, 30 s left"),
        (make_state(3, 1.0), "3 of 1,200 images (0%), 3.0/s, 6 min 39 s left"),
        (make_state(0), "0 of 1,200 images (0%), 0.0/s, time left unknown"),
        (make_state(2, 75), "2 of 1,200 images (0%), 38 s each, 12 h 28 min left"),
        (make_state(1200, 65, has_ended=True), "1,200 of 1,200 images in 1 min 5 s, 18/s"),
        (
            make_state(timeout=20, gone=1),
            "300 of 1,200 images (25%), 30/s, 30 s left; failed: timeout: 20, gone: 1",
        ),
    ],
)
def test_states_in_words(state: ProgressState, words: str) -> None:
    assert state.describe() == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59, "59 s"),
        (59.6, "1 min 0 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (90000, "25 h 0 min"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert describe_seconds(seconds) == words


def test_log_has_a_line_at_each_interval_and_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), Progress("posters", 4, seconds_between_lines=0) as progress:
        progress.count({"": 1, "http 404": 1})
        progress.count({"http 404": 1, "timeout": 1})
    first, second, last = caplog.messages
    assert first.startswith("posters: 2 of 4 (50%), ")
    assert first.endswith(" s left; failed: http 404: 1")
    assert second.startswith("posters: 4 of 4 (100%), ")
    assert last.startswith("posters: 4 of 4 in 0 s, ")
    assert last.endswith("/s; failed: http 404: 2, timeout: 1")
    # The percentage, by which the last line is told from the others.
    assert [getattr(record, "progress", None) for record in caplog.records] == [50.0, 100.0, None]
    assert {record.name for record in caplog.records} == {"tasks.posters.progress"}


def test_short_stages_have_no_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), Progress("posters", 2, seconds_between_lines=1000) as progress:
        progress.advance(2)
    assert caplog.messages == []


def test_failed_stages_end_without_a_line(caplog: pytest.LogCaptureFixture) -> None:
    states: list[ProgressState] = []
    with reporting_to(states.append):
        progress = Progress("posters", 2, seconds_between_lines=0)
    with caplog.at_level(logging.INFO), pytest.raises(OSError, match="gone"), progress:
        raise OSError("gone")
    assert [state.has_ended for state in states] == [False, True]
    assert caplog.messages == []


def test_reporters_get_what_began_in_their_block() -> None:
    states: list[ProgressState] = []
    before = Progress("posters", 1)
    with reporting_to(states.append):
        before.advance()
        with Progress("features", 3, "images") as inside:
            assert list(inside.track("abc")) == ["a", "b", "c"]
    assert {(state.stage, state.what, state.total) for state in states} == {("features", "images", 3)}
    assert [(state.done, state.has_ended) for state in states] == [(0, False), (3, False), (3, True)]
    assert len({state.number for state in states}) == 1
    with Progress("features", 1) as after:
        after.advance()
    assert len(states) == 3


def test_all_threads_are_counted_and_no_two_report_at_once() -> None:
    busy = threading.Lock()
    reported: list[int] = []

    def report(state: ProgressState) -> None:
        assert busy.acquire(blocking=False)
        reported.append(state.done)
        busy.release()

    with reporting_to(report), Progress("posters", 2000) as progress, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: progress.count({"timeout": 1}), range(2000)))
    assert reported == [*range(2001), 2000]
    assert progress.failures == {"timeout": 2000}


def test_what_is_done_again_is_not_counted_over_the_total() -> None:
    states: list[ProgressState] = []
    with reporting_to(states.append), Progress("features", 10) as progress:
        progress.advance(8)
        progress.advance(8)
    assert [state.percent for state in states] == [0.0, 80.0, 100.0, 100.0]
