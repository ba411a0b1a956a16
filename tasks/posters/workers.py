"""Processes that download posters, a part each at a time."""

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
    """Some processes, for as many threads to give orders to. A context manager: they end with it, at once.

    They end, too, when this process is killed: their standard input ends then.

    Args:
        count: of processes.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._processes: list[subprocess.Popen[str]] = []
        self._idle: queue.SimpleQueue[subprocess.Popen[str]] = queue.SimpleQueue()

    def __enter__(self) -> "Workers":
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        for _ in range(self._count):
            process = subprocess.Popen(
                [sys.executable, "-m", "tasks.posters.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": path},
                process_group=0,  # Ctrl-C is for this process, which ends them
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
            # Closes the pipes as well; nothing is left in them that is wanted.
            process.communicate(timeout=_STOP_SECONDS)

    def download(
        self,
        path: Path,
        films: Sequence[Mapping[str, Any]],
        settings: PosterSettings,
        connections: int,
        progress: Progress,
    ) -> Counter[str]:
        """Has one process, once one is idle, do what `downloading.download` does.

        Raises:
            DownloadError: if that fails, or the process ends.
        """
        process = self._idle.get()
        assert process.stdin is not None
        assert process.stdout is not None
        order = {
            "path": str(path.resolve()),
            "films": list(films),
            "settings": settings.model_dump(mode="json"),
            "connections": connections,
        }
        try:
            print(json.dumps(order), file=process.stdin, flush=True)
            for line in process.stdout:
                said = json.loads(line)
                if "counts" in said:
                    progress.count(said["counts"])
                elif "outcomes" in said:
                    return Counter(said["outcomes"])
                else:
                    raise DownloadError(f"{path.name} could not be downloaded: {said['error']}")
        except BrokenPipeError:
            pass  # it has ended, as is said below
        finally:
            self._idle.put(process)  # also one that has ended: nobody waits for it for ever
        raise DownloadError(f"{path.name} could not be downloaded: its process ended, exit code {process.wait()}")
