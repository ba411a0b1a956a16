from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from tasks.kept import Kept


def test_one_object_is_made_also_for_tasks_at_once() -> None:
    made: list[str] = []
    barrier = Barrier(4)

    def make(key: str) -> list[str]:
        made.append(key)
        return [key]

    kept = Kept(make)

    def find(_: int) -> list[str]:
        barrier.wait()
        return kept.find("a")

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(find, range(4)))
    assert made == ["a"]
    assert all(value is found[0] for value in found)
    # Another one takes its place.
    assert kept.find("b") == ["b"]
    assert kept.find("a") is not found[0]
    assert made == ["a", "b", "a"]


def test_an_object_is_given_within_the_block_alone() -> None:
    kept = Kept(str.upper)
    with pytest.raises(KeyError), kept.keep("a", "given"):
        assert kept.find("a") == "given"
        raise KeyError
    assert kept.find("a") == "A"
