from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import RegistryError
from tasks.registry.champion_file import list_history, make_champion, parse_champion, render_champion, roll_back

ONE = {"id": "one", "since": "2026-01-05T06:00:00+00:00", "why": "first"}
TWO = {"id": "two", "since": "2026-01-12T06:00:00+00:00", "why": "better"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"3",
        b"no json",
        b"\xff",
        b'{"id": "../models/one"}',
        b'{"id": "one", "before": 3}',
        b'{"id": "one", "before": ["two"]}',
        b'{"id": "one", "before": [{}]}',
        b'{"id": "one", "before": [{"id": "/two"}]}',
    ],
)
def test_pointers_that_are_none(content: bytes) -> None:
    with pytest.raises(RegistryError, match="here does not name a model"):
        parse_champion(content, "here")


@given(st.binary() | st.from_regex(r'\{"id": "[^"]{0,5}", "before": [^"]{0,9}\}', fullmatch=True).map(str.encode))
def test_other_content_is_refused_or_read(content: bytes) -> None:
    try:
        champion = parse_champion(content, "here")
    except RegistryError:
        return
    assert set(champion) == {"id", "since", "why", "before"}


def test_a_pointer_is_read_as_it_was_written() -> None:
    champion = {**TWO, "before": [ONE]}
    assert parse_champion(render_champion(champion), "here") == champion
    # As an early version wrote it.
    assert parse_champion(b'{"id": "one"}', "here") == {"id": "one", "since": None, "why": None, "before": []}


def test_a_history_has_the_present_champion_last() -> None:
    assert list_history(None) == []
    assert list_history({**TWO, "before": [ONE]}) == [ONE, TWO]
    champion = make_champion("three", "best", [ONE, TWO])
    assert (champion["id"], champion["why"], champion["before"]) == ("three", "best", [ONE, TWO])
    assert abs((datetime.now(UTC) - datetime.fromisoformat(champion["since"])).total_seconds()) < 60


def test_rolling_back_goes_one_champion_back() -> None:
    champion = roll_back({**TWO, "before": [ONE]}, "here")
    assert (champion["id"], champion["why"], champion["before"]) == ("one", "rolled back from two", [])
    with pytest.raises(RegistryError, match="here has had no champion before one: nothing to roll back"):
        roll_back(champion, "here")
