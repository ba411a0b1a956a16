import asyncio
import hashlib
import math
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.posters.fetching import (
    Fetched,
    PosterRequest,
    _find_proxy,
    _parse_retry_after,
    fetch_poster,
    fetch_posters,
    open_session,
)
from tasks.settings import PosterSettings

SETTINGS = PosterSettings(backoff_seconds=0.01, deadline_seconds=10, attempts=3, max_bytes=100_000, min_side_pixels=32)


Fetch = Callable[..., Fetched]


@pytest.fixture
def fetch() -> Iterator[Fetch]:
    """Downloads posters one after the other, over one session."""

    async def start() -> aiohttp.ClientSession:
        return open_session(SETTINGS, connections=4)

    with asyncio.Runner() as runner:
        session = runner.run(start())
        yield lambda url, settings=SETTINGS: runner.run(fetch_poster(session, PosterRequest(url), settings))
        runner.run(session.close())


def test_poster_is_unaltered(server, fetch: Fetch) -> None:
    fetched = fetch(server.url("good"))
    assert fetched.content == server.poster
    assert fetched.sha256 == hashlib.sha256(server.poster).hexdigest()
    assert (fetched.reason, fetched.attempts, fetched.http_status) == (None, 1, 200)
    assert (fetched.image.format, fetched.image.width, fetched.image.height) == ("jpeg", 60, 80)
    assert (fetched.etag, fetched.last_modified) == (server.etag, "Sat, 21 Nov 2020 00:00:00 GMT")


@pytest.mark.parametrize(
    ("path", "reason", "http_status", "attempts"),
    [
        ("status-404", "http 404", 404, 1),
        ("status-410", "http 410", 410, 1),
        ("status-403", "http 403", 403, 1),
        ("status-503", "http 503", 503, 3),
        ("status-429", "http 429", 429, 3),
        ("html", "not an image", 200, 1),
        ("half", "broken image", 200, 1),
        ("empty", "empty", 200, 1),
        ("gif", "format gif", 200, 1),
        ("tiny", "too small", 200, 1),
        ("long", "too large", 200, 1),
        ("unannounced", "too large", 200, 1),
        ("loop", "too many redirects", None, 1),
        ("astray", "bad address", None, 1),
        ("short", "connection broken", None, 3),
        ("hangup", "connection broken", None, 3),
    ],
)
def test_failures_have_a_reason_and_transient_ones_are_retried(
    server, fetch: Fetch, path: str, reason: str, http_status: int | None, attempts: int
) -> None:
    fetched = fetch(server.url(path))
    assert (fetched.reason, fetched.http_status, fetched.attempts) == (reason, http_status, attempts)
    assert fetched.content is None
    # A connection that ends without a response may have been stale: aiohttp itself repeats the request on a new one.
    if path != "loop":
        assert server.requests[path] == (2 * attempts if path == "hangup" else attempts)


@pytest.mark.parametrize(("path", "attempts"), [("once-503", 2), ("once-500", 2), ("cut", 1), ("redirect", 1)])
def test_transient_failures_end_in_a_poster(server, fetch: Fetch, path: str, attempts: int) -> None:
    fetched = fetch(server.url(path))
    assert (fetched.reason, fetched.attempts, fetched.content) == (None, attempts, server.poster)


def test_retry_after_is_waited_for(server, fetch: Fetch) -> None:
    fetched = fetch(server.url("later-1"))
    assert (fetched.reason, fetched.attempts) == (None, 2)
    assert 1.0 <= fetched.seconds < 3.0


def test_retry_after_beyond_the_deadline_is_not_waited_for(server, fetch: Fetch) -> None:
    fetched = fetch(server.url("later-3600"))
    assert (fetched.reason, fetched.attempts) == ("http 429", 1)
    assert fetched.seconds < 1.0


@pytest.mark.parametrize("path", ["drip", "dripheaders", "silent"])
def test_no_server_holds_a_thread_past_the_deadline(server, fetch: Fetch, path: str) -> None:
    settings = SETTINGS.model_copy(update={"deadline_seconds": 0.6})
    start = time.monotonic()
    fetched = fetch(server.url(path), settings)
    assert fetched.reason == "timeout"
    assert time.monotonic() - start < 2.0
    # The session is still usable.
    assert fetch(server.url("good")).reason is None


def test_closed_port(fetch: Fetch, closed_port: int) -> None:
    fetched = fetch(f"http://127.0.0.1:{closed_port}/1.jpg")
    assert (fetched.reason, fetched.attempts) == ("connection broken", 3)


@pytest.mark.parametrize("url", ["http://", "http://[::1/x", "ftp://127.0.0.1/x", "no address"])
def test_invalid_addresses(fetch: Fetch, url: str) -> None:
    assert fetch(url) == Fetched(1, pytest.approx(0, abs=1), "bad address")


def test_connections_are_kept_open(server, fetch: Fetch) -> None:
    for _ in range(5):
        fetch(server.url("good"))
    assert (server.requests["good"], server.connections) == (5, 1)


def test_proxies_of_the_environment_are_used(server, fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.base_url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    _find_proxy.cache_clear()
    # A proxy receives the whole address as the request's target.
    assert fetch("http://posters.invalid/1.jpg").content == server.poster
    assert list(server.requests) == ["http://posters.invalid/1.jpg"]
    assert fetch(server.url("good")).reason is None
    assert server.requests["good"] == 1
    _find_proxy.cache_clear()


def test_results_are_in_the_order_of_requests_over_few_connections(server) -> None:
    paths = [f"good-{number}" if number % 5 else f"status-40{number % 10}" for number in range(40)]
    seen: list[Fetched] = []
    fetched = fetch_posters([PosterRequest(server.url(path)) for path in paths], SETTINGS, 3, seen.append)
    assert [one.reason is None for one in fetched] == [path.startswith("good") for path in paths]
    assert sorted(map(id, seen)) == sorted(map(id, fetched))
    assert server.connections <= 3
    assert fetch_posters([], SETTINGS, 3) == []


def test_a_slow_response_does_not_delay_the_others(server) -> None:
    settings = SETTINGS.model_copy(update={"deadline_seconds": 1.0})
    start = time.monotonic()
    paths = ["drip", *(f"good-{number}" for number in range(30))]
    first, *others = fetch_posters([PosterRequest(server.url(path)) for path in paths], settings, 2)
    assert first.reason == "timeout"
    assert all(other.reason is None for other in others)
    assert time.monotonic() - start < 2.5


def test_retry_after_as_a_date() -> None:
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert _parse_retry_after(in_a_minute) == pytest.approx(60, abs=2)
    assert _parse_retry_after("Sat, 21 Nov 2020 00:00:00 GMT") == 0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        (" 7 ", 7),
        ("", 0),
        ("-7", 0),
        ("soon", 0),
        ("²", 0),
        ("9" * 5000, 0),
        ("Sat, 21 Nov 99999 00:00:00 GMT", 0),
        (f"21 Nov {'9' * 20} 0:0 GMT", 0),
    ],
)
def test_retry_after_values(value: str, seconds: float) -> None:
    assert _parse_retry_after(value) == seconds


@given(st.text(max_size=40) | st.text("0123456789 :+-,JanGMT", max_size=40) | st.integers(0, 10**400).map(str))
def test_retry_after_is_a_finite_number_for_any_value(value: str) -> None:
    assert 0 <= _parse_retry_after(value) < math.inf
