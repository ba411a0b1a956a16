import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests

from tasks.posters.deadlines import Watchdog
from tasks.posters.fetching import Fetched, _parse_retry_after, fetch_poster, make_session
from tasks.settings import PosterSettings

SETTINGS = PosterSettings(backoff_seconds=0.01, deadline_seconds=10, attempts=3, max_bytes=100_000, min_side_pixels=32)


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with make_session() as opened:
        yield opened


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    with Watchdog() as running:
        yield running


def test_a_good_poster_is_kept_as_it_came(server, session, watchdog) -> None:
    fetched = fetch_poster(session, watchdog, server.url("good"), SETTINGS)
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
def test_failures_are_told_and_tried_again_where_that_can_help(
    server, session, watchdog, path: str, reason: str, http_status: int | None, attempts: int
) -> None:
    fetched = fetch_poster(session, watchdog, server.url(path), SETTINGS)
    assert (fetched.reason, fetched.http_status, fetched.attempts) == (reason, http_status, attempts)
    assert fetched.content is None
    if path != "loop":
        assert server.asked[path] == attempts


@pytest.mark.parametrize(("path", "attempts"), [("once-503", 2), ("once-500", 2), ("cut", 2), ("redirect", 1)])
def test_what_heals_gives_a_poster(server, session, watchdog, path: str, attempts: int) -> None:
    fetched = fetch_poster(session, watchdog, server.url(path), SETTINGS)
    assert (fetched.reason, fetched.attempts, fetched.content) == (None, attempts, server.poster)


def test_retry_after_is_waited_for(server, session, watchdog) -> None:
    fetched = fetch_poster(session, watchdog, server.url("later-1"), SETTINGS)
    assert (fetched.reason, fetched.attempts) == (None, 2)
    assert 1.0 <= fetched.seconds < 3.0


def test_retry_after_beyond_the_deadline_is_not_waited_for(server, session, watchdog) -> None:
    fetched = fetch_poster(session, watchdog, server.url("later-3600"), SETTINGS)
    assert (fetched.reason, fetched.attempts) == ("http 429", 1)
    assert fetched.seconds < 1.0


@pytest.mark.parametrize("path", ["drip", "dripheaders", "silent"])
def test_no_server_holds_a_thread_past_the_deadline(server, session, watchdog, path: str) -> None:
    settings = SETTINGS.model_copy(update={"deadline_seconds": 0.6})
    start = time.monotonic()
    fetched = fetch_poster(session, watchdog, server.url(path), settings)
    assert fetched.reason == "timeout"
    assert time.monotonic() - start < 2.0
    # The session is as good as before.
    assert fetch_poster(session, watchdog, server.url("good"), SETTINGS).reason is None


def test_nobody_listens(session, watchdog, closed_port: int) -> None:
    fetched = fetch_poster(session, watchdog, f"http://127.0.0.1:{closed_port}/1.jpg", SETTINGS)
    assert (fetched.reason, fetched.attempts) == ("connection broken", 3)


@pytest.mark.parametrize("url", ["http://", "http://[::1/x", "ftp://127.0.0.1/x", "no address"])
def test_addresses_that_are_none(session, watchdog, url: str) -> None:
    assert fetch_poster(session, watchdog, url, SETTINGS) == Fetched(1, pytest.approx(0, abs=1), "bad address")


def test_connections_are_kept_open(server, session, watchdog) -> None:
    for _ in range(5):
        fetch_poster(session, watchdog, server.url("good"), SETTINGS)
    assert (server.asked["good"], server.connections) == (5, 1)


def test_retry_after_as_a_date() -> None:
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert _parse_retry_after(in_a_minute) == pytest.approx(60, abs=2)
    assert _parse_retry_after("Sat, 21 Nov 2020 00:00:00 GMT") == 0
    assert [_parse_retry_after(value) for value in ("7", "", "soon", "²", "Sat, 21 Nov 99999 00:00:00 GMT")] == [
        7,
        0,
        0,
        0,
        0,
    ]
