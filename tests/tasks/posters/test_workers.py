import contextlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import DownloadError
from tasks.posters import ledger
from tasks.posters.fetching import name_host
from tasks.posters.segments import Part
from tasks.posters.workers import Workers, find_pool
from tasks.progress import Progress
from tasks.settings import PosterSettings

SETTINGS = PosterSettings(
    backoff_seconds=0.01, attempts=2, deadline_seconds=20, connections=4, allow_private_hosts=("127.0.0.1",)
)


def make_job(server, folder: Path, part: int, *paths: str) -> dict[str, Any]:
    films = [{"imdb_id": number, "poster_url": server.url(path)} for number, path in enumerate(paths)]
    settings = SETTINGS.model_dump(mode="json")
    return {"posters_dir": str(folder), "part": part, "num_parts": 4, "films": films, "settings": settings}


def is_running(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_parts_are_downloaded_in_parallel(server, tmp_path: Path) -> None:
    progress = Progress("posters", 9)
    jobs = [make_job(server, tmp_path, part, "good-1", "good-2", "status-404") for part in range(3)]
    with Workers(2) as workers, ThreadPoolExecutor(3) as pool:
        outcomes = list(pool.map(lambda job: workers.download(job, progress), jobs))
        pids = [process.pid for process in workers._processes]
    assert outcomes == [{"new": 2, "failed": 1}] * 3
    assert (progress._done, progress.failures) == (9, {"http 404": 3})
    for part in range(3):
        assert ledger.read_rows([Part(tmp_path, part, 4)])["status"].to_pylist() == ["ok", "ok", "failed"]
    assert not any(map(is_running, pids))


def test_errors_of_the_disk_are_raised_and_the_process_continues(server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with Workers(1) as workers:
        with pytest.raises(DownloadError, match=r"part-00000 of the posters could not be downloaded: .*file"):
            workers.download(make_job(server, tmp_path / "file" / "posters", 0, "good"), Progress("posters", 1))
        assert workers.download(make_job(server, tmp_path, 0, "good"), Progress("posters", 1)) == {"new": 1}


def kill_while(server, workers: Workers, path: str) -> None:
    seen = server.requests[path]
    deadline = time.monotonic() + 30
    while server.requests[path] == seen and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(workers._processes[0].pid, signal.SIGKILL)


def test_a_process_that_dies_is_replaced_and_its_part_tried_again(server, tmp_path: Path) -> None:
    with Workers(1) as workers, ThreadPoolExecutor(1) as pool:
        jobs = [make_job(server, tmp_path, 0, "hold"), make_job(server, tmp_path, 1, "good-1")]
        waiting = [pool.submit(workers.download, job, Progress("posters", 1)) for job in jobs]
        kill_while(server, workers, "hold")
        assert [done.result(timeout=30) for done in waiting] == [{"new": 1}, {"new": 1}]
    assert server.requests["hold"] == 2


def test_a_process_that_dies_twice_is_an_error_of_its_part_alone(server, tmp_path: Path) -> None:
    with Workers(1) as workers, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(workers.download, make_job(server, tmp_path, 0, "silent"), Progress("posters", 1))
        for _ in range(2):
            kill_while(server, workers, "silent")
        with pytest.raises(DownloadError, match=r"part-00000 .*its process died 2 times, exit code -9"):
            waiting.result(timeout=30)
        assert workers.download(make_job(server, tmp_path, 1, "good"), Progress("posters", 1)) == {"new": 1}


def test_a_closed_pool_begins_no_part(server, tmp_path: Path) -> None:
    """A run that was interrupted ends at once, whatever waits for a process or comes later."""
    with ThreadPoolExecutor(4) as threads:
        with Workers(1) as workers:
            jobs = [make_job(server, tmp_path, part, "hold" if not part else f"good-{part}") for part in range(4)]
            waiting = [threads.submit(workers.download, job, Progress("posters", 1)) for job in jobs]
            deadline = time.monotonic() + 30
            while not server.requests["hold"] and time.monotonic() < deadline:
                time.sleep(0.02)
        for done in waiting:
            with pytest.raises(DownloadError, match="the download was interrupted: run again"):
                done.result(30)
    with pytest.raises(DownloadError, match="the download was interrupted"):
        workers.download(jobs[1], Progress("posters", 1))
    with pytest.raises(DownloadError, match="the download was interrupted"):
        find_pool()
    assert set(server.requests) == {"hold"}


def test_hosts_that_one_part_found_refusing_are_left_alone_by_the_next(server, tmp_path: Path) -> None:
    with Workers(1) as workers:
        assert workers.download(make_job(server, tmp_path, 0, "later-3600"), Progress("posters", 1)) == {"failed": 1}
        assert workers._left_alone.reasons == {name_host(server.url("")): "host refuses"}
        assert workers.download(make_job(server, tmp_path, 1, "good-1", "good-2"), Progress("posters", 2)) == {
            "failed": 2
        }
    assert server.requests["good-1"] == 0
    assert ledger.read_rows([Part(tmp_path, 1, 4)])["reason"].to_pylist() == ["host refuses"] * 2


@pytest.mark.parametrize("name", ["tasks.py", "json.py", "queue.py"])
def test_modules_of_the_working_directory_are_not_imported(
    server, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_text("raise ImportError('shadowed')\n")
    monkeypatch.chdir(tmp_path)
    with Workers(1) as workers:
        assert workers.download(make_job(server, tmp_path / "posters", 0, "good"), Progress("posters", 1)) == {"new": 1}


def test_processes_end_when_their_parent_is_killed(server, tmp_path: Path) -> None:
    script = (
        "from tasks.progress import Progress\n"
        "from tasks.posters.workers import Workers\n"
        "with Workers(1) as workers:\n"
        "    print(workers._processes[0].pid, flush=True)\n"
        f"    workers.download({make_job(server, tmp_path, 0, 'silent')!r}, Progress('posters', 1))\n"
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
