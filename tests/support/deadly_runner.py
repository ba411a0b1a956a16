"""A runner of which chosen pieces end every process, without a process."""

from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from prefect import Task
from prefect.futures import PrefectConcurrentFuture

from flows.runners import Future, Runner


@dataclass
class DeadlyRunner(Runner):
    """Runs each task at once, in the caller's thread, as a cluster's worker would.

    Attributes:
        deadly: Names of the plans whose task dies.
        done: Names of the plans whose task ended well.
    """

    deadly: frozenset[str]
    slots: int = 2
    done: list[str] = field(default_factory=list)
    death = BrokenProcessPool
    is_elsewhere = True

    def __exit__(self, *_: object) -> None: ...

    def submit(self, task: Task[Any, Any], parameters: dict[str, Any]) -> Future:
        future: futures.Future[Any] = futures.Future()
        name = parameters["plan"].name
        if name in self.deadly:
            future.set_exception(BrokenProcessPool("a process died"))
        else:
            future.set_result(task.fn(**parameters))
            self.done.append(name)
        return _Future(uuid4(), future)


class _Future(PrefectConcurrentFuture[Any]):
    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:  # noqa: ARG002
        return self._wrapped_future.result(timeout)
