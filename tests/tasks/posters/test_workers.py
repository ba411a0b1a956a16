import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.errors import DownloadError
from tasks.posters import ledger
from tasks.posters.progress import Progress
from tasks.posters.workers import Workers
from tasks.settings import PosterSettings

SETTINGS = PosterSettings(backoff_seconds=0.01, attempts=2, deadline_seconds=20)


def films(server, *paths: str) -> list[dict[str, object]]:
    return [{"imdb_id": number, "poster_url": server.url(path)} for number, path in enumerate(paths)]


def is_running(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_parts_are_downloaded_in_parallel(server, tmp_path: Path) -> None:
    progress = Progress(9)
    paths = [tmp_path / f"part-{number}.parquet" for number in range(3)]
    with Workers(2) as workers, ThreadPoolExecutor(3) as pool:
        part_films = films(server, "good-1", "good-2", "status-404")
        outcomes = list(pool.map(lambda path: workers.download(path, part_films, SETTINGS, 2, progress), paths))
        pids = [process.pid for process in workers._processes]
    assert outcomes == [Counter(new=2, failed=1)] * 3
    assert (progress._done, progress.failures) == (9, {"http 404": 3})
    for path in paths:
        assert ledger.read_part(path)["status"].to_pylist() == ["ok", "ok", "failed"]
    assert not any(map(is_running, pids))


def test_errors_of_the_disk_are_raised_and_the_process_continues(server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with Workers(1) as workers:
        with pytest.raises(DownloadError, match=r"part-0.parquet could not be downloaded: .*file"):
            workers.download(tmp_path / "file" / "part-0.parquet", films(server, "good"), SETTINGS, 1, Progress(1))
        assert workers.download(tmp_path / "part-0.parquet", films(server, "good"), SETTINGS, 1, Progress(1)) == {
            "new": 1
        }


def test_a_killed_process_is_an_error(server, tmp_path: Path) -> None:
    with Workers(1) as workers, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(
            workers.download, tmp_path / "p.parquet", films(server, "silent"), SETTINGS, 1, Progress(1)
        )
        while not server.requests["silent"]:
            time.sleep(0.02)
        os.kill(workers._processes[0].pid, signal.SIGKILL)
        with pytest.raises(DownloadError, match=r"p.parquet could not be downloaded: its process ended, exit code -9"):
            waiting.result(timeout=10)
        # The next part fails as well, rather than wait for ever.
        with pytest.raises(DownloadError, match="its process ended"):
            workers.download(tmp_path / "q.parquet", films(server, "good"), SETTINGS, 1, Progress(1))


def test_processes_end_when_their_parent_is_killed(server, tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, threading\n"
        "from tasks.posters.progress import Progress\n"
        "from tasks.posters.workers import Workers\n"
        "from tasks.settings import PosterSettings\n"
        "with Workers(1) as workers:\n"
        "    print(workers._processes[0].pid, flush=True)\n"
        f"    film = {{'imdb_id': 1, 'poster_url': {server.url('silent')!r}}}\n"
        f"    path = pathlib.Path({str(tmp_path / 'p.parquet')!r})\n"
        "    workers.download(path, [film], PosterSettings(), 1, Progress(1))\n"
    )
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=root) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        while not server.requests["silent"]:
            time.sleep(0.02)
        parent.kill()
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)
    assert list(tmp_path.iterdir()) == []


def test_modules_in_the_working_directory_are_not_imported(
    server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tasks", "flows", "data", "json", "queue"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    monkeypatch.chdir(tmp_path)
    with Workers(1) as workers:
        path = tmp_path / "part-0.parquet"
        assert workers.download(path, films(server, "good"), SETTINGS, 1, Progress(1)) == {"new": 1}
