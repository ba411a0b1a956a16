"""Politeness to hosts: rate and waits of all requests to one; and one that is gone, or only refuses, is left alone."""

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from http import HTTPStatus

from tasks.settings import PosterSettings

logger = logging.getLogger(__name__)

NETWORK = "the network"  # all hosts together

# Statuses with which a server refuses, whatever is requested; others are about one poster.
_REFUSALS = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
# Successive failures before a host is left alone. With these and `posters.give_up_seconds` neither a restart of a
# server nor a few posters that are forbidden one after the other have that effect.
_MIN_UNREACHABLE = 8
_MIN_REFUSALS = 64
# Requests that the last moments left room for are sent at once: else each pause of the process would lower the rate.
_BURST_SECONDS = 0.25
# Different hosts that are unreachable one after the other, before the network is taken for gone.
_MIN_UNREACHABLE_HOSTS = 16


class Host:
    """What the requests to one host have shown, within one process. Not thread-safe: for one event loop.

    Args:
        settings: Settings of the stage.
        requests_per_second: Maximum rate of requests to the host.
        left_alone: Why the host is left alone; None if it is not.

    Attributes:
        left_alone: Why the host is left alone for the rest of the run; None if it is not.
    """

    def __init__(self, settings: PosterSettings, requests_per_second: float, left_alone: str | None = None) -> None:
        self.left_alone = left_alone
        self._settings = settings
        self._seconds_between_requests = 1 / requests_per_second
        self._next_request = 0.0
        self._paused_until = 0.0
        self._unreachable = _Streak()
        self._refusals = _Streak()

    async def wait_for_turn(self) -> None:
        """Waits until the next request may be sent: while the host is paused, and for the maximum rate."""
        while not self.left_alone and (seconds := self._paused_until - time.monotonic()) > 0:
            await asyncio.sleep(seconds)
        if self.left_alone:
            await asyncio.sleep(0)  # lets the requests to other hosts go on
            return
        now = time.monotonic()
        turn = max(now - _BURST_SECONDS, self._next_request)
        self._next_request = turn + self._seconds_between_requests
        if turn > now:
            await asyncio.sleep(turn - now)

    def pause(self, seconds: float) -> None:
        """Delays all requests to the host, as its Retry-After says.

        A host that asks for more time than a poster may take is left alone.
        """
        if seconds > self._settings.deadline_seconds:
            self.left_alone = self.left_alone or "host refuses"
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def record_response(self, status: int) -> None:
        """Records that the host sent a response."""
        self._unreachable.end()
        if status not in _REFUSALS:
            self._refusals.end()
        elif self._refusals.lasts(_MIN_REFUSALS, self._settings.give_up_seconds, time.monotonic()):
            self.left_alone = self.left_alone or "host refuses"

    def record_unreachable(self, started: float) -> None:
        """Records that no connection could be opened.

        Args:
            started: Time at which the attempt began, of `time.monotonic`.
        """
        if self._unreachable.lasts(_MIN_UNREACHABLE, self._settings.give_up_seconds, started):
            self.left_alone = self.left_alone or "host unreachable"


class _Streak:
    """Successive failures."""

    def __init__(self) -> None:
        self.end()

    def end(self) -> None:
        self._number = 0
        self._since = 0.0

    def lasts(self, min_number: int, min_seconds: float, started: float) -> bool:
        """Adds a failure, and returns whether the streak has at least this number and duration."""
        if not self._number:
            self._since = started
        self._number += 1
        return self._number >= min_number and time.monotonic() - self._since >= min_seconds


class Hosts:
    """The hosts of a download, within one process.

    Args:
        settings: Settings of the stage.
        share: Share of this process in the rates of the run, in (0, 1].
        left_alone: Reasons by host, as `left_alone` returned them in other processes of the run.
    """

    def __init__(
        self, settings: PosterSettings, share: float = 1.0, left_alone: Mapping[str, str] | None = None
    ) -> None:
        self._settings = settings
        self._requests_per_second = settings.requests_per_second_per_host * share
        self._left_alone = dict(left_alone or {})
        self._hosts: dict[str, Host] = {}
        self._unreachable = _Streak()  # of all hosts together
        self._unreachable_hosts: set[str] = set()
        self._is_network_gone = False
        self._has_responded = False  # any host

    def __getitem__(self, name: str) -> Host:
        if name not in self._hosts:
            self._hosts[name] = Host(self._settings, self._requests_per_second, self._left_alone.get(name))
        return self._hosts[name]

    def find_reason_to_skip(self, name: str) -> str | None:
        """Returns why a host gets no more requests; None if it gets them."""
        return self[name].left_alone or ("network unreachable" if self._is_network_gone else None)

    def record_response(self, name: str, status: int) -> None:
        """Records that a host sent a response."""
        self[name].record_response(status)
        self._has_responded = True
        self._unreachable.end()
        self._unreachable_hosts.clear()

    def record_unreachable(self, name: str, started: float) -> None:
        """Records that no connection to a host could be opened; see `Host.record_unreachable`."""
        self[name].record_unreachable(started)
        self._unreachable_hosts.add(name)
        lasts = self._unreachable.lasts(_MIN_UNREACHABLE, self._settings.give_up_seconds, started)
        # Where another process waited in vain, it is not waited again, unless some host has responded to this one.
        lasts |= NETWORK in self._left_alone and not self._has_responded
        if lasts and len(self._unreachable_hosts) >= _MIN_UNREACHABLE_HOSTS:
            self._is_network_gone = True

    def left_alone(self) -> dict[str, str]:
        """Returns the hosts that are left alone for the rest of the run, with the reasons.

        `NETWORK` is one of them if the network seems to be gone. It may also be that the posters of one part are all of
        dead hosts: so other processes try some, too.
        """
        found = {name: host.left_alone for name, host in self._hosts.items() if host.left_alone}
        if self._is_network_gone and not self._has_responded:
            found[NETWORK] = "unreachable"
        return self._left_alone | found


class HostsLeftAlone:
    """The hosts that the parts of a run have left alone so far, for the parts that start later. Thread-safe.

    Attributes:
        reasons: Reasons by host, as `Hosts.left_alone` returns them.
    """

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, reasons: Mapping[str, str]) -> None:
        """Adds those of a part; a warning names the new ones."""
        with self._lock:
            new = {host: reason for host, reason in reasons.items() if host not in self.reasons}
            self.reasons = {**self.reasons, **new}
        for host, reason in new.items():
            logger.warning(
                "posters: %s, %s: left alone for the rest of this run, the next one tries again", host, reason
            )
