from types import SimpleNamespace

import pytest

from tasks.posters.hosts import NETWORK, Hosts
from tasks.settings import PosterSettings

SETTINGS = PosterSettings(give_up_seconds=5.0, deadline_seconds=30.0)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, which a test may change.

    Of the module alone: an event loop of another thread, such as that of a server, would wait for hours.
    """
    seconds = [1000.0]
    monkeypatch.setattr("tasks.posters.hosts.time", SimpleNamespace(monotonic=lambda: seconds[0]))
    return seconds


def fail(hosts: Hosts, names: list[str], now: list[float]) -> None:
    for name in names:
        hosts.record_unreachable(name, started=now[0])


def test_a_host_is_left_alone_after_failures_in_number_and_time(now: list[float]) -> None:
    hosts = Hosts(SETTINGS)
    fail(hosts, ["a"] * 20, now)
    assert hosts.find_reason_to_skip("a") is None  # a restart of the server takes as long
    now[0] += 5
    fail(hosts, ["a"], now)
    assert hosts.find_reason_to_skip("a") == "host unreachable"
    assert hosts.find_reason_to_skip("b") is None
    assert hosts.left_alone() == {"a": "host unreachable"}


def test_a_response_between_failures_starts_the_count_again(now: list[float]) -> None:
    hosts = Hosts(SETTINGS)
    fail(hosts, ["a"] * 20, now)
    hosts.record_response("a", 404)
    now[0] += 5
    fail(hosts, ["a"], now)
    assert hosts.find_reason_to_skip("a") is None


def test_no_host_of_many_is_reached(now: list[float]) -> None:
    hosts = Hosts(SETTINGS)
    names = [f"host {number}" for number in range(16)]
    fail(hosts, names, now)
    now[0] += 5
    fail(hosts, names[:1], now)
    assert hosts.find_reason_to_skip("another") == "network unreachable"
    assert hosts.left_alone() == {NETWORK: "unreachable"}

    # The next process tries some, and does not wait for them.
    following = Hosts(SETTINGS, left_alone=hosts.left_alone())
    fail(following, names[:-1], now)
    assert following.find_reason_to_skip("another") is None
    fail(following, names[-1:], now)
    assert following.find_reason_to_skip("another") == "network unreachable"


def test_some_dead_hosts_are_not_the_network(now: list[float]) -> None:
    hosts = Hosts(SETTINGS, left_alone={NETWORK: "unreachable"})
    hosts.record_response("alive", 200)
    fail(hosts, [f"host {number}" for number in range(40)], now)
    assert hosts.find_reason_to_skip("another") is None

    hosts = Hosts(SETTINGS)
    hosts.record_response("alive", 200)
    fail(hosts, [f"host {number}" for number in range(40)], now)
    now[0] += 5
    fail(hosts, ["host 1"], now)
    # It stops this process's part, and no other.
    assert hosts.find_reason_to_skip("another") == "network unreachable"
    assert NETWORK not in hosts.left_alone()


@pytest.mark.parametrize(("seconds", "reason"), [(30, None), (31, "host refuses")])
def test_a_host_may_ask_for_as_much_time_as_a_poster_has(seconds: float, reason: str | None) -> None:
    hosts = Hosts(SETTINGS)
    hosts["a"].pause(seconds)
    assert hosts.find_reason_to_skip("a") == reason
