"""Runs that hang, in a server that never answers or in a call that never returns, are ended by their time limit."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.settings import PREFECT_API_URL

from flows.time_limit import TimeLimitError, time_limit
from flows.train import train
from tasks.locking import locked
from tasks.settings import CatalogSettings, PosterSettings, Settings

ROOT = Path(__file__).resolve().parents[2]
# 0.36 s.
SHORT = 1e-4


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as sock:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


def test_what_waits_is_ended() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    start = time.monotonic()
    with (
        pytest.raises(TimeLimitError, match=r"^the run took longer than 0.0001 hours \(max_hours\), and was in"),
        time_limit(SHORT),
    ):
        time.sleep(30)
    assert 0.3 < time.monotonic() - start < 5
    assert signal.getsignal(signal.SIGUSR1) == before


def test_what_ends_in_time_is_left_alone() -> None:
    with time_limit(SHORT):
        pass
    with pytest.raises(KeyError), time_limit(SHORT):
        raise KeyError
    time.sleep(0.6)


def test_the_place_is_the_innermost_function_of_this_project() -> None:
    with pytest.raises(TimeLimitError, match=r"was in acquire \(tasks/locking.py, line \d+\): run it again"):
        wait_in(ROOT / "tasks" / "locking.py")
    with pytest.raises(TimeLimitError, match="was in code of another package: run it again"):
        wait_in(Path(threading.__file__))


def wait_in(path: Path) -> None:
    names: dict[str, Any] = {"Event": threading.Event}
    exec(compile("def acquire():\n    Event().wait(30)\n", path, "exec"), names)
    with time_limit(SHORT):
        names["acquire"]()


def test_a_task_does_not_try_again(prefect_server: None) -> None:
    tries = []

    @task(retries=3)
    def hang() -> None:
        tries.append(1)
        time.sleep(30)

    @flow
    def hanging() -> None:
        with time_limit(1 / 3600):
            hang()

    state = hanging(return_state=True)
    assert (state.name, state.type.value) == ("TimedOut", "FAILED")
    assert len(tries) == 1


def test_a_run_at_a_catalog_that_never_comes(prefect_server: None, silent_server: str, tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path / "data",
        artifacts_dir=tmp_path / "artifacts",
        catalog=CatalogSettings(source=f"{silent_server}/MovieGenre.csv"),
        posters=PosterSettings(allow_private_hosts=("127.0.0.1",)),
        max_hours=2 / 3600,
    )
    state = train(settings, return_state=True)
    assert state.name == "TimedOut"
    assert "tasks/web/client.py" in state.message or "tasks/catalog/" in state.message
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(state.state_details.flow_run_id)
        (artifact,) = [found for found in client.read_artifacts(limit=200) if found.flow_run_id == run.id]
    assert (run.state.name, artifact.key) == ("TimedOut", "failure")
    assert "the run took longer than" in str(artifact.data)
    with locked(settings.data_dir, "a test"):
        pass  # it would raise if it were held
    (log,) = (settings.data_dir / "logs").iterdir()
    assert "TimeLimitError: the run took longer" in json.loads(log.read_text("utf-8").splitlines()[-1])["message"]


class Ended:
    """A command that ended, and those of its processes that are still there."""

    def __init__(self, arguments: list[str], cwd: Path) -> None:
        mark = f"TIME_LIMIT_TEST={uuid.uuid4()}"
        name, _, value = mark.partition("=")
        # The tests' server, so that none has to start.
        url = str(PREFECT_API_URL.value())
        environment = {**os.environ, name: value, "PYTHONPATH": str(ROOT), "PREFECT_API_URL": url}
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=120, env=environment, check=False
        )
        self.code, self.output, self.errors = done.returncode, done.stdout + done.stderr, done.stderr.splitlines()
        self.left = [
            int(folder.name)
            for folder in Path("/proc").glob("[0-9]*")
            if mark.encode() in read(folder / "environ").split(b"\0")
        ]


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it has ended, or is another user's


def test_a_command_at_posters_that_never_come(prefect_server: None, silent_server: str, tmp_path: Path) -> None:
    rows = "".join(
        f'{number},link,Film (1995),7.0,Drama|Comedy,"{silent_server}/{number}.jpg"\n' for number in range(9)
    )
    (tmp_path / "films.csv").write_text(f"imdbId,Imdb Link,Title,IMDB Score,Genre,Poster\n{rows}", "utf-8")
    given = {"max_hours": 3 / 3600, "posters.deadline_seconds": 1e6, "posters.allow_private_hosts": "[127.0.0.1]"}
    options = [f"--set={name}={value}" for name, value in given.items()]
    done = Ended(["-m", "flows", "run", "--catalog", "films.csv", *options], tmp_path)
    assert done.code == 1, done.output
    (message,) = [line for line in done.errors if line.startswith("poster-genres: ")]
    assert message.startswith("poster-genres: the run took longer than 0.000833333 hours (max_hours), and was in")
    assert "_wait_for_task (flows/spreading.py" in message
    assert not any("Traceback" in line for line in done.errors)
    assert done.left == []
    with locked(tmp_path / "data", "a test"):
        pass


STUBBORN = """
import flows.time_limit as limit
from flows.interruption import ending_on_signals
limit._UNWIND_SECONDS = 1.0
with ending_on_signals():
    import ctypes, subprocess, time
    from prefect import flow

    @flow(flow_run_name={name!r})
    def hang():
        subprocess.Popen(["sleep", "300"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with limit.time_limit(1 / 3600):
            {hang}

    hang()
"""


def test_a_call_that_does_not_return_is_ended_with_its_process(prefect_server: None, tmp_path: Path) -> None:
    # As code that handles every exception, or a library's own wait.
    hang = "\n            ".join(["while True:", "    try: time.sleep(60)", "    except BaseException: pass"])
    name = f"stubborn {uuid.uuid4()}"
    done = Ended(["-c", STUBBORN.format(name=name, hang=hang)], tmp_path)
    assert done.code == 1, done.output
    assert done.errors[-1].startswith("poster-genres: the run took longer than")
    assert done.left == []
    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[name])))
    assert (run.state.name, run.state.type.value) == ("TimedOut", "FAILED")
    assert "the run took longer than" in run.state.message


def test_a_call_that_lets_no_other_thread_run_is_ended(prefect_server: None, tmp_path: Path) -> None:
    done = Ended(["-c", STUBBORN.format(name="rigid", hang="ctypes.PyDLL(None).sleep(300)")], tmp_path)
    assert done.code == 1, done.output
    assert "Timeout (" in done.output
    assert "in hang" in done.output
    for process in done.left:
        os.kill(process, signal.SIGKILL)


def test_a_process_that_ran_a_command_is_not_ended_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its signals stay watched after the command; but the process is somebody else's again."""
    script = (
        "import time, flows.time_limit\n"
        "from flows.interruption import ending_on_signals, is_command\n"
        "flows.time_limit._UNWIND_SECONDS = 0.3\n"
        "with ending_on_signals():\n"
        "    assert is_command()\n"
        "assert not is_command()\n"
        "try:\n"
        f"    with flows.time_limit.time_limit({SHORT}):\n"
        "        time.sleep(30)\n"
        "except flows.time_limit.TimeLimitError:\n"
        "    time.sleep(1)\n"
        "print('still here')"
    )
    monkeypatch.delenv("PREFECT__FLOW_RUN_ID", raising=False)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "still here\n"


def test_the_place_is_found_beside_threads_that_start_and_end() -> None:
    """Of Python's own, a collection that lets another thread run stopped the process within the first calls."""
    script = (
        "import gc, os, threading, time\n"
        "from flows.time_limit import find_frame\n"
        "class Garbage:\n"
        "    def __init__(self): self.itself = self\n"
        "    def __del__(self): time.sleep(0.001)\n"
        "def repeat(call):\n"
        "    while True: call()\n"
        "def pause(): time.sleep(0.05)\n"
        "def start():\n"
        "    thread = threading.Thread(target=int)\n"
        "    thread.start()\n"
        "    thread.join()\n"
        "for call in [start, *[pause] * 30]:\n"
        "    threading.Thread(target=repeat, args=[call], daemon=True).start()\n"
        "gc.set_threshold(5)\n"
        "for _ in range(20):\n"
        "    gc.disable()\n"
        "    for _ in range(20): Garbage()\n"
        "    gc.enable()\n"
        "    assert find_frame(threading.main_thread().ident).f_code.co_name == 'find_frame'\n"
        "    assert gc.isenabled()\n"
        "    time.sleep(0.06)\n"
        "print('still here', flush=True)\n"
        "os._exit(0)"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "still here\n"
