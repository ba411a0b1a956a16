"""A pool of worker processes that download posters, one part at a time each."""

import json
import os
import queue
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tasks.errors import DownloadError
from tasks.posters.progress import Progress
from tasks.settings import PosterSettings

_ROOT = Path(__file__).resolve().parents[2]
_STOP_SECONDS = 10


class Workers:
    """A pool of worker processes, shared by as many threads. A context manager: its end kills the processes.

    They also end when this process is killed, because that closes their standard input.

    Args:
        count: Number of processes.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._processes: list[subprocess.Popen[str]] = []
        self._idle: queue.SimpleQueue[subprocess.Popen[str]] = queue.SimpleQueue()

    def __enter__(self) -> "Workers":
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        for _ in range(self._count):
            process = subprocess.Popen(
                # -P: a tasks.py or json.py in the working directory is not this project's, nor Python's.
                [sys.executable, "-P", "-m", "tasks.posters.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": path},
                process_group=0,  # Ctrl-C interrupts this process only, which then kills them
            )
            self._processes.append(process)
            self._idle.put(process)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            # Also closes the pipes, whose remaining content is not needed.
            process.communicate(timeout=_STOP_SECONDS)

    def download(
        self,
        path: Path,
        films: Sequence[Mapping[str, Any]],
        settings: PosterSettings,
        connections: int,
        progress: Progress,
    ) -> Counter[str]:
        """Runs `downloading.download` in the next idle process.

        Args:
            path: Path of the part.
            films: Films whose posters are downloaded, as in `tasks.posters.task.PartPlan`.
            settings: Settings of the stage.
            connections: Number of posters downloaded at the same time.
            progress: Receives the counts while the process downloads.

        Returns:
            The number of posters with each outcome.

        Raises:
            DownloadError: If the download fails, or the process ends.
        """
        process = self._idle.get()
        assert process.stdin is not None
        assert process.stdout is not None
        job = {
            "path": str(path.resolve()),
            "films": list(films),
            "settings": settings.model_dump(mode="json"),
            "connections": connections,
        }
        try:
            print(json.dumps(job), file=process.stdin, flush=True)
            for line in process.stdout:
                message = json.loads(line)
                if "counts" in message:
                    progress.count(message["counts"])
                elif "outcomes" in message:
                    return Counter(message["outcomes"])
                else:
                    raise DownloadError(f"{path.name} could not be downloaded: {message['error']}")
        except BrokenPipeError:
            pass  # the process ended: the error is raised below
        finally:
            self._idle.put(process)  # also if it ended: otherwise another thread could wait for ever
        raise DownloadError(f"{path.name} could not be downloaded: its process ended, exit code {process.wait()}")
