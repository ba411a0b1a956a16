"""Spread the pieces of a stage, its parts or shards, over a runner's tasks, and outlive processes that die."""

import logging
import queue
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import httpx
from prefect import Task
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException
from prefect.states import Crashed

from flows.presentation import shown_if_possible
from flows.runners import Future, Runner, RunnerError
from tasks.errors import one_line
from tasks.work_report import WorkReport, log_failed_work

logger = logging.getLogger(__name__)

# Between two looks whether tasks can still end.
_CHECK_SECONDS = 5.0
# Deaths after which a piece has no other beside it.
_TRIES_BESIDE_OTHERS = 2
# Times that a pool breaks, with no piece done in between, after which no other is started.
_MAX_BREAKS = 5
# Of a sum of shares.
_ROUNDING = 1e-6


class Piece(Protocol):
    """What one task works on."""

    @property
    def name(self) -> str:
        """Name in the log."""

    @property
    def size(self) -> int:
        """Number of posters or images."""


AnyPiece = TypeVar("AnyPiece", bound=Piece)


@dataclass
class _Work:
    """What one worker process has done."""

    pieces: int = 0
    size: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class _Running(Generic[AnyPiece]):
    """A piece whose task runs, the share of limits that it got, and whether it is tried without others beside it."""

    piece: AnyPiece
    share: float
    is_alone: bool


@dataclass
class Spreading(Generic[AnyPiece]):
    """The tasks of a stage: one a piece, as many at a time as the runner has slots.

    A piece is submitted when a slot is free, so that its arguments are those of that moment, and those of few pieces
    are in memory. A result is dropped when it has been taken: Dask would make those of a dead worker again.

    A piece whose process died is tried again. If that repeats, it is tried without others beside it, by which it is
    known which one is to blame; that one is given up.

    Attributes:
        stage: Name of the stage.
        runner: Runner of the tasks.
        task: Task that gets a piece, and returns a `WorkReport`.
        arguments: Function from a piece to the task's arguments, called when it is submitted.
        has_shares: Whether a task's arguments give it the share `1 / runner.slots` of a limit. Then the shares of the
            running ones are 1 together, also when slots were added meanwhile: the first ones have larger shares.
    """

    stage: str
    runner: Runner
    task: Task[Any, Any]
    arguments: Callable[[AnyPiece], dict[str, Any]]
    has_shares: bool = False
    _deaths: Counter[str] = field(default_factory=Counter)
    _work: dict[str, _Work] = field(default_factory=dict)
    _breaks: int = 0
    _checked_at: float = field(default_factory=time.monotonic)

    def run(self, pieces: Iterable[AnyPiece]) -> Iterator[tuple[AnyPiece, Any]]:
        """Yields each piece with the value of its report, in the order of completion; None: it is given up.

        Raises:
            RunnerError: The runner has failed.
            Exception: A task's own.
        """
        waiting, alone = deque(pieces), deque[AnyPiece]()
        running: dict[Future, _Running[AnyPiece]] = {}
        done: queue.SimpleQueue[Future] = queue.SimpleQueue()
        is_broken = False
        while waiting or alone or running:
            # A piece that is tried alone would be blamed for a pool that broke while it was idle.
            if not running and (is_broken or self.runner.is_broken):
                self.runner.restart()
                is_broken = False
            while waiting and self._has_room(running.values()) and not is_broken:
                self._submit(waiting.popleft(), running, done)
            if not running:
                self._submit(alone.popleft(), running, done, is_alone=True)
            future = self._wait_for_task(done)
            if future is None:  # there may be room for more by now
                continue
            ended = running.pop(future)
            piece = ended.piece
            try:
                report = self._take_result(future)
            except self.runner.death as error:
                if self.runner.dies_whole and not is_broken:
                    self._count_break(error)
                    is_broken = True
                self._deaths[piece.name] += 1
                if ended.is_alone:
                    _mark_crashed(future, error)
                    yield piece, None
                elif self._deaths[piece.name] < _TRIES_BESIDE_OTHERS:
                    waiting.appendleft(piece)
                else:
                    alone.append(piece)
            else:
                self._breaks = 0
                yield piece, self._take_report(piece, report)
        self._show_work()

    def _has_room(self, running: Collection[_Running[AnyPiece]]) -> bool:
        """Returns whether another piece may be submitted."""
        # The next ones wait for threads, which cost nothing; another process gets a piece when it can begin.
        rounds, slots = 1 if self.runner.is_remote else 2, self.runner.slots
        if len(running) >= rounds * slots:
            return False
        return not self.has_shares or sum(each.share for each in running) + 1 / slots < rounds + _ROUNDING

    def _submit(
        self,
        piece: AnyPiece,
        running: dict[Future, _Running[AnyPiece]],
        done: "queue.SimpleQueue[Future]",
        *,
        is_alone: bool = False,
    ) -> None:
        future = self.runner.submit(self.task, self.arguments(piece))
        running[future] = _Running(piece, 1 / self.runner.slots, is_alone)
        future.add_done_callback(lambda _: done.put(future))

    def _take_result(self, future: Future) -> WorkReport[Any]:
        try:
            report: WorkReport[Any] = future.result()
        except CancelledError as error:
            raise RunnerError(
                f"{self.stage}: the tasks were lost, as when a Dask scheduler stops: run again, finished pieces are "
                "kept"
            ) from error
        except Exception as error:
            log_failed_work(error)
            raise
        return report

    def _count_break(self, error: Exception) -> None:
        self._breaks += 1
        if self._breaks == _MAX_BREAKS:
            raise RunnerError(
                f"{self.stage}: the worker processes died {_MAX_BREAKS} times and no piece was done in between: see "
                "above for what they wrote, give them more memory, or choose runner.kind=threads"
            ) from error

    def _wait_for_task(self, done: "queue.SimpleQueue[Future]") -> Future | None:
        """Returns the next task that has ended; None after a look at the runner, whose slots may have changed."""
        if time.monotonic() >= self._checked_at + _CHECK_SECONDS:
            self.runner.check()
            self._checked_at = time.monotonic()
        try:
            return done.get(timeout=_CHECK_SECONDS)
        except queue.Empty:
            return None

    def _take_report(self, piece: AnyPiece, report: WorkReport[Any]) -> Any:
        report.log_again()
        if report.worker:
            work = self._work.setdefault(report.worker, _Work())
            work.pieces += 1
            work.size += piece.size
            work.seconds += report.seconds
        return report.value

    def _show_work(self) -> None:
        """Shows what each worker process has done, in the log and in the dashboard."""
        rows = [
            {"worker": worker, "pieces": work.pieces, "images": work.size, "images/s": round(work.size / work.seconds)}
            for worker, work in sorted(self._work.items())
        ]
        for row in rows:
            logger.info("%s: %s: %d pieces, %d images, %d/s", self.stage, *row.values())
        if rows:
            description = f"Worker processes of the stage {self.stage}: a piece is a part, a shard, or some files"
            with shown_if_possible("the work of the worker processes"):
                create_table_artifact(rows, key=f"workers-{self.stage}", description=description)


def _mark_crashed(future: Future, error: Exception) -> None:
    """Ends a task on Prefect's server, which has not heard of the death of its process, and may not of its start."""
    state: Any = Crashed(message=f"The processes that ran it died: {one_line(error)}")
    try:
        with get_client(sync_client=True) as client:
            client.set_task_run_state(future.task_run_id, state, force=True)
    except (httpx.HTTPError, PrefectException) as problem:
        if isinstance(problem, httpx.HTTPStatusError) and problem.response.status_code == httpx.codes.NOT_FOUND:
            return  # the process died before it had sent its first events
        logger.warning("Prefect's server keeps a task as running that is given up: %s", one_line(problem))
