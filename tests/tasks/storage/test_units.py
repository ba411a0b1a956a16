import logging
from pathlib import Path

import pytest

from tasks.storage.folders import StoredFile
from tasks.storage.objects import ObjectStore
from tasks.storage.units import UnitResult, run_once


def make_result(number: int) -> UnitResult:
    return UnitResult(files={"a.bin": StoredFile(sha256=f"{number:064x}", num_bytes=number)}, value={"number": number})


class Work:
    """Counts how often it is done."""

    def __init__(self, number: int) -> None:
        self.number, self.times = number, 0

    def __call__(self) -> UnitResult:
        self.times += 1
        return make_result(self.number)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(str(tmp_path))


def test_a_unit_is_done_once_and_another_for_itself(store: ObjectStore) -> None:
    first, again, other = Work(1), Work(2), Work(3)
    assert run_once(store, "posters", {"part": 0, "films": [1, 2]}, first) == make_result(1)
    assert run_once(store, "posters", {"films": [1, 2], "part": 0}, again) == make_result(1)
    assert run_once(store, "posters", {"part": 0, "films": [2, 1]}, other) == make_result(3)
    assert (first.times, again.times, other.times) == (1, 0, 1)


def test_of_two_at_the_same_moment_the_first_result_counts(store: ObjectStore) -> None:
    job = {"part": 0}

    def work() -> UnitResult:
        run_once(store, "posters", job, Work(1))  # the other one ends while this one works
        return make_result(2)

    assert run_once(store, "posters", job, work) == make_result(1)


def test_work_that_fails_leaves_no_result(store: ObjectStore) -> None:
    def fail() -> UnitResult:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        run_once(store, "posters", {"part": 0}, fail)
    assert run_once(store, "posters", {"part": 0}, Work(1)) == make_result(1)


def test_a_damaged_result_is_made_again(store: ObjectStore, caplog: pytest.LogCaptureFixture) -> None:
    run_once(store, "posters", {"part": 0}, Work(1))
    (name,) = store.list_names("posters/results")
    store.write(f"posters/results/{name}", b'{"files": 1}')
    caplog.set_level(logging.WARNING)
    again = Work(2)
    assert run_once(store, "posters", {"part": 0}, again) == make_result(2)
    assert again.times == 1
    assert "is damaged" in caplog.text
    assert "the work is done again" in caplog.text
