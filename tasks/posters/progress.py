"""Progress of a download, for the log."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping

logger = logging.getLogger(__name__)


class Progress:
    """Counts posters over all parts and threads, and logs a line at intervals.

    Args:
        total: Number of posters to download.
        seconds_between_lines: Minimum interval between two log lines; the last line is logged in any case.
    """

    def __init__(self, total: int, seconds_between_lines: float = 5.0) -> None:
        self.total = total
        self.failures: Counter[str] = Counter()
        self._done = 0
        self._seconds_between_lines = seconds_between_lines
        self._start = self._last_line = time.monotonic()
        self._lock = threading.Lock()

    def count(self, reasons: Mapping[str, int]) -> None:
        """Adds posters, by reason of failure; the reason "" is success."""
        with self._lock:
            self._done += sum(reasons.values())
            self.failures.update({reason: number for reason, number in reasons.items() if reason})
            now = time.monotonic()
            if self._done < self.total and now < self._last_line + self._seconds_between_lines:
                return
            self._last_line = now
            line = self._line(now - self._start)
        logger.info(line)

    def _line(self, seconds: float) -> str:
        rate = self._done / max(seconds, 1e-9)
        left = (self.total - self._done) / rate
        failed = ", ".join(f"{reason}: {count:,}" for reason, count in self.failures.most_common()) or "none"
        return (
            f"posters: {self._done:,} of {self.total:,} ({self._done / self.total:.0%}), {rate:,.0f}/s, "
            f"{left:,.0f} s left; failed: {failed}"
        )
