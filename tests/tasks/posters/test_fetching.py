import hashlib
import math
import resource
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.posters import fetching
from tasks.posters.fetching import Fetched, PosterRequest, fetch_posters, name_host, parse_retry_after, stream_posters
from tasks.posters.hosts import Hosts
from tasks.settings import PosterSettings

SETTINGS = PosterSettings(
    backoff_seconds=0.01,
    deadline_seconds=10,
    attempts=3,
    max_bytes=100_000,
    min_side_pixels=32,
    give_up_seconds=0.3,
    connections=8,
    allow_private_hosts=("127.0.0.1",),
)


def fetch(url: str, settings: PosterSettings = SETTINGS) -> Fetched:
    (fetched,) = fetch_posters([PosterRequest(url)], settings)
    return fetched


def fetch_all(server, paths: Sequence[str], settings: PosterSettings = SETTINGS) -> list[Fetched]:
    return fetch_posters([PosterRequest(server.url(path)) for path in paths], settings)


def test_poster_is_unaltered(server) -> None:
    fetched = fetch(server.url("good"))
    assert fetched.content == server.poster
    assert fetched.sha256 == hashlib.sha256(server.poster).hexdigest()
    assert (fetched.reason, fetched.attempts, fetched.http_status) == (None, 1, 200)
    assert (fetched.image.format, fetched.image.width, fetched.image.height) == ("jpeg", 60, 80)
    assert (fetched.etag, fetched.last_modified) == (server.etag, "Sat, 21 Nov 2020 00:00:00 GMT")


@pytest.mark.parametrize(
    ("path", "falls_back"),
    [
        ("status-404", True),
        ("tiny", True),
        ("good", False),
        # These may pass: the poster is requested again by the next run, not kept in another width.
        ("status-503", False),
        ("hangup", False),
    ],
)
def test_another_address_is_requested_where_there_is_no_poster(server, path: str, falls_back: bool) -> None:
    (fetched,) = fetch_posters([PosterRequest(server.url(path), fallback_url=server.url("good"))], SETTINGS)
    assert server.requests["good"] == (falls_back or path == "good")
    assert (fetched.content == server.poster) == (falls_back or path == "good")


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
        ("bombed404", "http 404", 404, 1),
        ("inward", "private address", None, 1),
        ("long", "too large", 200, 1),
        ("unannounced", "too large", 200, 1),
        ("loop", "too many redirects", None, 1),
        ("astray", "bad address", None, 1),
        ("short", "connection broken", None, 3),
        ("hangup", "connection broken", None, 3),
    ],
)
def test_failures_have_a_reason_and_transient_ones_are_retried(
    server, path: str, reason: str, http_status: int | None, attempts: int
) -> None:
    fetched = fetch(server.url(path))
    assert (fetched.reason, fetched.http_status, fetched.attempts) == (reason, http_status, attempts)
    assert fetched.content is None
    # A connection that ends without a response may have been stale: aiohttp itself repeats the request on a new one.
    if path != "loop":
        assert server.requests[path] == (2 * attempts if path == "hangup" else attempts)


@pytest.mark.parametrize(("path", "attempts"), [("once-503", 2), ("once-500", 2), ("cut", 1), ("redirect", 1)])
def test_transient_failures_end_in_a_poster(server, path: str, attempts: int) -> None:
    fetched = fetch(server.url(path))
    assert (fetched.reason, fetched.attempts, fetched.content) == (None, attempts, server.poster)


def test_retry_after_is_waited_for(server) -> None:
    fetched = fetch(server.url("later-1"))
    assert (fetched.reason, fetched.attempts) == (None, 2)
    assert 1.0 <= fetched.seconds < 3.0


def test_retry_after_beyond_the_deadline_is_not_waited_for(server) -> None:
    fetched = fetch(server.url("later-3600"))
    assert (fetched.reason, fetched.attempts) == ("http 429", 1)
    assert fetched.seconds < 1.0


@pytest.mark.parametrize("path", ["drip", "dripheaders", "silent"])
def test_no_server_holds_a_connection_past_the_deadline(server, path: str) -> None:
    settings = SETTINGS.model_copy(update={"deadline_seconds": 0.6})
    start = time.monotonic()
    fetched = fetch(server.url(path), settings)
    assert fetched.reason == "timeout"
    assert time.monotonic() - start < 2.0
    # The session is still usable.
    assert fetch(server.url("good")).reason is None


def test_closed_port(closed_port: int) -> None:
    fetched = fetch(f"http://127.0.0.1:{closed_port}/1.jpg")
    assert (fetched.reason, fetched.attempts) == ("no connection", 3)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://", "bad address"),
        ("http://[::1/x", "bad address"),
        ("no address", "bad address"),
        ("ftp://127.0.0.1/x", "address not http(s)"),
        ("http://a:b@127.0.0.1/x", "address with credentials"),
        ("http://127.0.0.2/x", "private address"),
        ("http://poster.invalid/x", "name not resolved"),
    ],
)
def test_addresses_that_are_not_requested(url: str, reason: str) -> None:
    attempts = 3 if reason == "name not resolved" else 1
    assert fetch(url) == Fetched(attempts, pytest.approx(0, abs=5), reason)


def test_connections_are_kept_open(server) -> None:
    fetch_all(server, ["good"] * 5, SETTINGS.model_copy(update={"connections": 1}))
    assert (server.requests["good"], server.connections) == (5, 1)


def test_headers_that_are_no_text_are_left_out(server) -> None:
    fetched = fetch(server.url("oddheader"))
    assert (fetched.reason, fetched.content) == (None, server.poster)
    assert (fetched.etag, fetched.last_modified) == (None, None)


def test_an_unexpected_error_costs_one_poster(server, monkeypatch: pytest.MonkeyPatch) -> None:
    check = fetching.check_image

    def fail_at_second(content: bytes, **options: int) -> object:
        calls.append(content)
        if len(calls) == 2:
            raise RuntimeError("from a decoder")
        return check(content, **options)

    calls: list[bytes] = []
    monkeypatch.setattr(fetching, "check_image", fail_at_second)
    fetched = fetch_all(server, [f"good-{number}" for number in range(6)])
    assert Counter(one.reason for one in fetched) == {None: 5, "unexpected RuntimeError": 1}


def test_a_body_that_is_not_needed_is_not_unpacked(server) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fetch(server.url("bombed404"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # KiB; it unpacks to 50 MB


def test_retry_after_holds_for_all_requests_to_the_host(server) -> None:
    start = time.monotonic()
    fetched = fetch_all(server, ["later-2", *(f"good-{number}" for number in range(200))])
    assert all(one.reason is None for one in fetched)
    assert time.monotonic() - start >= 2
    # Only those under way were not held back.
    assert 1 <= sum(one.seconds > 1 for one in fetched) <= SETTINGS.connections


def test_a_host_that_wants_to_be_left_alone_is_left_alone(server) -> None:
    start = time.monotonic()
    fetched = fetch_all(server, ["later-3600"] + [f"good-{number}" for number in range(3000)])
    assert time.monotonic() - start < 5
    assert sum(server.requests.values()) <= 2 * SETTINGS.connections
    assert Counter(one.reason for one in fetched)["host refuses"] > 2900


def test_a_host_that_only_refuses_is_left_alone(server) -> None:
    fetched = fetch_all(server, [f"status-403-{number}" for number in range(2000)])
    assert Counter(one.reason for one in fetched).keys() == {"http 403", "host refuses"}
    assert sum(server.requests.values()) < 1500


def test_a_host_that_refuses_some_is_not_left_alone(server) -> None:
    paths = [f"status-403-{number}" if number % 20 else f"good-{number}" for number in range(600)]
    assert Counter(one.reason for one in fetch_all(server, paths)) == {"http 403": 570, None: 30}


def test_an_unreachable_host_is_left_alone_in_seconds_and_the_others_go_on(server, closed_port: int) -> None:
    gone = [PosterRequest(f"http://127.0.0.1:{closed_port}/{number}") for number in range(20_000)]
    good = [PosterRequest(server.url(f"good-{number}")) for number in range(50)]
    start = time.monotonic()
    fetched = fetch_posters([*gone, *good], SETTINGS)
    assert time.monotonic() - start < 15
    assert all(one.reason is None for one in fetched[len(gone) :])
    reasons = Counter(one.reason for one in fetched[: len(gone)])
    assert reasons.keys() == {"no connection", "host unreachable"}
    assert reasons["host unreachable"] > 15_000


def test_rate_and_connections_are_bounded_by_host(server) -> None:
    settings = SETTINGS.model_copy(update={"requests_per_second_per_host": 50.0, "connections_per_host": 2})
    start = time.monotonic()
    fetched = fetch_all(server, [f"good-{number}" for number in range(40)], settings)
    assert all(one.reason is None for one in fetched)
    assert time.monotonic() - start >= 39 / 50
    assert server.connections <= 2


def test_hosts_of_an_earlier_part_are_left_alone(server) -> None:
    found: dict[int, Fetched] = {}
    hosts = Hosts(SETTINGS, left_alone={name_host(server.url("")): "host unreachable"})
    stream_posters([PosterRequest(server.url("good"))], SETTINGS, hosts, found.__setitem__)
    assert found[0] == Fetched(0, pytest.approx(0, abs=1), "host unreachable")
    assert not server.requests


@pytest.mark.parametrize("proxy", ["http://{}", "{}"])
def test_proxies_of_the_environment_are_used(server, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy.format(server.base_url.removeprefix("http://")))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    # The proxy's own address may be private. A proxy receives the whole address as the request's target.
    settings = SETTINGS.model_copy(update={"allow_private_hosts": ()})
    assert fetch("http://posters.invalid/1.jpg", settings).content == server.poster
    assert list(server.requests) == ["http://posters.invalid/1.jpg"]
    for address in ("http://127.0.0.2/x", "http://10.0.0.1/x", "http://localhost/x", "http://2130706433/x"):
        assert fetch(address, settings).reason == "private address"
    assert len(server.requests) == 1
    assert fetch(server.url("good")).reason is None
    assert server.requests["good"] == 1


def test_results_are_in_the_order_of_requests_over_few_connections(server) -> None:
    paths = [f"good-{number}" if number % 5 else f"status-40{number % 10}" for number in range(40)]
    settings = SETTINGS.model_copy(update={"connections": 3})
    assert [one.reason is None for one in fetch_all(server, paths, settings)] == [
        path.startswith("good") for path in paths
    ]
    assert server.connections <= 3
    assert fetch_posters([], SETTINGS) == []


def test_slow_responses_do_not_delay_the_others(server) -> None:
    settings = SETTINGS.model_copy(update={"deadline_seconds": 3.0})
    paths = ["silent", "drip", "dripheaders", *(f"good-{number}" for number in range(60))]
    done: dict[int, float] = {}
    start = time.monotonic()
    requests = [PosterRequest(server.url(path)) for path in paths]
    stream_posters(requests, settings, Hosts(settings), lambda number, _: done.update({number: time.monotonic()}))
    assert max(done[number] for number in range(3, len(paths))) - start < 2.5
    assert max(done.values()) - start < 5


def test_retry_after_as_a_date() -> None:
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert parse_retry_after(in_a_minute) == pytest.approx(60, abs=2)
    assert parse_retry_after("Sat, 21 Nov 2020 00:00:00 GMT") == 0


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
    assert parse_retry_after(value) == seconds


@given(st.text(max_size=40) | st.text("0123456789 :+-,JanGMT", max_size=40) | st.integers(0, 10**400).map(str))
def test_retry_after_is_a_finite_number_for_any_value(value: str) -> None:
    assert 0 <= parse_retry_after(value) < math.inf
