"""Progress of a long stage: a log line every few seconds, and a state for whoever shows it otherwise."""

import itertools
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

_SECONDS_BETWEEN_COUNTS = 0.2

Item = TypeVar("Item")


@dataclass(frozen=True)
class ProgressState:
    """How far something is.

    Attributes:
        number: Number of the `Progress` in this process.
        stage: Folder of the stage in `tasks`, such as `posters`.
        what: What is counted, such as `images`; may be empty.
        done: How many are done, the failed ones included.
        total: How many there are.
        failures: How many failed, by reason.
        seconds: Time since the start.
        has_ended: Whether nothing more follows.
    """

    number: int
    stage: str
    what: str
    done: int
    total: int
    failures: Mapping[str, int]
    seconds: float
    has_ended: bool

    @property
    def percent(self) -> float:
        return 100 * self.done / max(self.total, 1)

    def describe(self) -> str:
        """Returns counts, rate, time left (or taken, at the end), and failures, in a line without the stage."""
        rate = self.done / max(self.seconds, 1e-9)
        numbers = " ".join(filter(None, [f"{self.done:,} of {self.total:,}", self.what]))
        if self.has_ended:
            words = f"{numbers} in {describe_seconds(self.seconds)}, {_describe_rate(rate)}"
        else:
            left = f"{describe_seconds((self.total - self.done) / rate)} left" if self.done else "time left unknown"
            words = f"{numbers} ({self.percent:.0f}%), {_describe_rate(rate)}, {left}"
        if self.failures:
            words += f"; failed: {', '.join(f'{reason}: {count:,}' for reason, count in self.failures.items())}"
        return words


class Reporter(Protocol):
    """Shows progress. It must not block: the stage's threads wait for it."""

    def __call__(self, state: ProgressState, /) -> None:
        """Takes the newest state, from any thread, but never from two at once for one `Progress`."""


_reporters: list[Reporter] = []
_numbers = itertools.count()


@contextmanager
def reporting_to(reporter: Reporter) -> Iterator[None]:
    """Gives a reporter the progress of all stages of this process that begin in the block."""
    _reporters.append(reporter)
    try:
        yield
    finally:
        _reporters.remove(reporter)


class Progress:
    """Counts what a stage has done, over all its threads. A context manager: its end is the end of the stage.

    The log has a line at intervals, with `progress`, the percentage, for logs in JSON; and one at the end, if it took
    longer than one interval.

    Args:
        stage: Folder of the stage in `tasks`.
        total: How many there are to do.
        what: What is counted, such as `images`; empty if the stage's name says it.
        seconds_between_lines: Minimum interval between two log lines.
        with_last_line: Whether the log has a line at the end; not where the stage logs one of its own.
    """

    def __init__(
        self,
        stage: str,
        total: int,
        what: str = "",
        seconds_between_lines: float = 5.0,
        *,
        with_last_line: bool = True,
    ) -> None:
        self.stage = stage
        self.total = total
        self.what = what
        self._number = next(_numbers)
        self._reporters = tuple(_reporters)
        self._logger = logging.getLogger(f"tasks.{stage}.progress")
        self.failures: Counter[str] = Counter()
        self._done = 0
        self._seconds_between_lines = seconds_between_lines
        self._with_last_line = with_last_line
        self._start = self._last_line = time.monotonic()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._start = self._last_line = time.monotonic()
        with self._lock:
            self._report(has_ended=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._lock:
            state = self._report(has_ended=True)
        if kind is None and self._with_last_line and state.seconds > self._seconds_between_lines:
            self._logger.info("%s: %s", self.stage, state.describe())

    def count(self, reasons: Mapping[str, int]) -> None:
        """Adds what was done, by reason of failure; the reason "" is success."""
        with self._lock:
            # More than all, if some were done once more after an error.
            self._done = min(self._done + sum(reasons.values()), self.total)
            self.failures.update({reason: number for reason, number in reasons.items() if reason})
            state = self._report(has_ended=False)
            now = time.monotonic()
            if now < self._last_line + self._seconds_between_lines:
                return
            self._last_line = now
        self._logger.info("%s: %s", self.stage, state.describe(), extra={"progress": round(state.percent, 1)})

    def advance(self, number: int = 1) -> None:
        """Adds what was done successfully."""
        self.count({"": number})

    def track(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yields items, and counts them as done when the next one is taken; some at a time, for speed."""
        waiting, last = 0, time.monotonic()
        for item in items:
            yield item
            waiting += 1
            if time.monotonic() >= last + _SECONDS_BETWEEN_COUNTS:
                self.advance(waiting)
                waiting, last = 0, time.monotonic()
        self.advance(waiting)

    def _report(self, *, has_ended: bool) -> ProgressState:
        state = ProgressState(
            number=self._number,
            stage=self.stage,
            what=self.what,
            done=self._done,
            total=self.total,
            failures=dict(self.failures.most_common()),
            seconds=time.monotonic() - self._start,
            has_ended=has_ended,
        )
        for reporter in self._reporters:
            reporter(state)
        return state


def describe_seconds(seconds: float) -> str:
    """Returns a duration such as `12 s`, `3 min 20 s` or `2 h 5 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _describe_rate(rate: float) -> str:
    if 0 < rate < 0.1:
        return f"{describe_seconds(1 / rate)} each"
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s"
