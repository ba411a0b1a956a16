import threading
from concurrent.futures import Future

import pytest

from tasks.reading_ahead import read_ahead


def test_results_come_in_order_and_an_error_is_its_item_s() -> None:
    def invert(number: int) -> float:
        return 1 / number

    first, second, third = read_ahead(invert, [1, 0, 4], 2)
    assert (first.result(), third.result()) == (1.0, 0.25)
    with pytest.raises(ZeroDivisionError):
        second.result()
    assert list(read_ahead(invert, [], 1)) == []


def test_the_next_items_are_read_and_no_more() -> None:
    read: list[int] = []
    reached = threading.Event()

    def note(number: int) -> int:
        read.append(number)
        if number == 2:
            reached.set()
        return number

    results = read_ahead(note, range(10), 2)
    assert not read
    assert next(results).result() == 0
    # Without being asked for: the second and the third.
    assert reached.wait(30)
    assert sorted(read) == [0, 1, 2]
    results.close()
    assert sorted(read) == [0, 1, 2]


def test_what_waits_is_given_up_with_the_reader() -> None:
    started, go_on = threading.Event(), threading.Event()
    read: list[int] = []

    def wait(number: int) -> int:
        read.append(number)
        if number:
            started.set()
            go_on.wait(30)
        return number

    results = read_ahead(wait, range(5), 1)
    kept: list[Future[int]] = [next(results)]
    assert started.wait(30)
    go_on.set()
    results.close()
    assert (kept[0].result(), read) == (0, [0, 1])
