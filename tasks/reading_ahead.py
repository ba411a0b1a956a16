"""Read what is needed next while what was read is used."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(read: Callable[[Item], Result], items: Iterable[Item], num_ahead: int) -> Iterator[Future[Result]]:
    """Reads items in threads, and yields what each gave, in their order; an item's error is its own.

    Args:
        read: Function that reads one.
        items: The items.
        num_ahead: Number of items, at least 1, that are read before they are asked for: as many results are in memory,
            beside the one in use.
    """
    with ThreadPoolExecutor(num_ahead, "read-ahead") as threads:
        reading: deque[Future[Result]] = deque()
        try:
            for item in items:
                reading.append(threads.submit(read, item))
                if len(reading) > num_ahead:
                    yield reading.popleft()
            while reading:
                yield reading.popleft()
        finally:
            for future in reading:
                future.cancel()
