"""One object of this process, such as a network, which is made when a task first needs it.

A task gets a plain key, in whatever process it runs. Loading and checking a network takes seconds, which a worker
spends once for all its tasks.
"""

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import joblib

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Kept(Generic[Key, Value]):
    """The objects of one kind.

    A task calls a module's function that calls `find`: what is a global of a task's own module is sent with the task.

    Args:
        make: Function that makes the object of a key.
    """

    def __init__(self, make: Callable[[Key], Value]) -> None:
        self._make = make
        self._values: dict[Key, Value] = {}
        self._lock = threading.Lock()

    @contextmanager
    def keep(self, key: Key, value: Value) -> Iterator[None]:
        """Gives the tasks of this process an object that was made for them, within the block."""
        self._values[key] = value
        try:
            yield
        finally:
            self._values.pop(key, None)

    def find(self, key: Key) -> Value:
        """Returns the object of a key, which is made if there is none yet; the last one made is kept."""
        with self._lock:
            if key not in self._values:
                self._values.clear()
                self._values[key] = self._make(key)
            return self._values[key]


def count_cores(num_neighbours: int) -> int:
    """Returns the number of cores that a process may take, at least 1.

    Args:
        num_neighbours: Number of processes on this machine that share its cores, itself included.
    """
    num_cores: int = max(1, joblib.cpu_count() // num_neighbours)
    return num_cores
