"""Ctrl-C and SIGTERM at several moments of a run, by real signals to a real process."""

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
import requests
from prefect.settings import PREFECT_API_URL
from served import find_processes

from tasks.locking import locked

ROOT = Path(__file__).resolve().parents[2]
MESSAGE = "poster-genres: interrupted; run it again to go on where it was"
# It takes 1.2 s at most; the rest is for a machine that is busy with other tests.
MAX_SECONDS = 10


class Interrupted:
    """A command that got signals when its output had a certain text.

    Attributes:
        seconds: Time from the first signal to the end of the process.
        code: Its exit code.
        lines: All lines of its output, stdout and stderr together.
        left: Command lines of processes that it started and that are still there.
    """

    def __init__(self, arguments: list[str], trigger: str, signals: list[int], cwd: Path, **environment: str) -> None:
        mark = f"INTERRUPTED_TEST={uuid.uuid4()}"
        name, _, value = mark.partition("=")
        with subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment, name: value, "PYTHONPATH": str(ROOT)},
            # In the background of a script SIGINT is ignored, and what is ignored stays so.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:
            assert process.stdout is not None
            self.lines: list[str] = []
            while not any(trigger in line for line in self.lines[-1:]):
                line = process.stdout.readline()
                assert line, self.lines
                self.lines.append(line.rstrip("\n"))
            start = time.monotonic()
            for number in signals:
                process.send_signal(number)
            self.code = process.wait(60)
            self.seconds = time.monotonic() - start
            self.left = list(find_processes(mark).values())
            self.lines += process.stdout.read().splitlines()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_prefect_home) -> Path:
    """The working directory of all runs, each of which goes on where the one before was interrupted."""
    folder = tmp_path_factory.mktemp("interrupted")
    make_prefect_home(folder / "prefect")
    (folder / "data").mkdir()
    (folder / "data" / "backbone").symlink_to(ROOT / "data" / "backbone")
    return folder


DEMO = ["-m", "flows", "demo"]
SMALL_DEMO = [
    "-c",
    "from flows.interruption import ending_on_signals\n"
    "with ending_on_signals():\n"
    "    from flows.demo import demo\n"
    "    demo(num_films=120)\n",
]


@pytest.mark.parametrize(
    ("number", "arguments", "trigger"),
    [
        (signal.SIGINT, ["-X", "importtime", *DEMO], " pydantic"),
        (signal.SIGTERM, ["-X", "importtime", *DEMO], " prefect.settings"),
        (signal.SIGTERM, DEMO, "starting a temporary Prefect server"),
        pytest.param(signal.SIGINT, SMALL_DEMO, "Task run 'read catalog", marks=pytest.mark.recovery),
        pytest.param(signal.SIGTERM, SMALL_DEMO, "Task run 'read catalog", marks=pytest.mark.recovery),
        pytest.param(
            signal.SIGINT,
            SMALL_DEMO,
            "Task run 'train head fast",
            marks=[pytest.mark.backbone, pytest.mark.recovery],
        ),
    ],
)
def test_a_signal_ends_a_run_at_once_and_nothing_is_left(
    folder: Path, number: int, arguments: list[str], trigger: str
) -> None:
    done = Interrupted(arguments, trigger, [number], folder, PREFECT_HOME=str(folder / "prefect"))
    assert done.code == 128 + number, done.lines
    assert done.seconds < MAX_SECONDS
    assert done.lines[-1] == MESSAGE
    assert not any("Traceback" in line for line in done.lines)
    assert done.left == []
    for locked_folder in (folder / "data" / "sample", folder / "data" / "sample" / "server"):
        with locked(locked_folder, "a test"):
            pass  # it would raise if it were held


@pytest.mark.backbone
@pytest.mark.recovery
def test_the_next_run_goes_on(folder: Path) -> None:
    """After the runs above: all posters are there, and a trained head."""
    done = Interrupted(SMALL_DEMO, "Task run 'evaluate", [signal.SIGINT], folder, PREFECT_HOME=str(folder / "prefect"))
    assert done.code == 128 + signal.SIGINT
    assert not any("Task run 'download posters" in line for line in done.lines)
    assert any("training: fast-" in line and "is up to date" in line for line in done.lines)


def test_a_second_signal_ends_it_without_waiting(tmp_path: Path) -> None:
    """The main thread does not unwind: it is in a call that takes long."""
    script = (
        "from flows.interruption import ending_on_signals\n"
        "import time\n"
        "with ending_on_signals():\n"
        "    seconds = 0\n"
        "    while True:\n"
        "        try:\n"
        "            if not seconds: print('started', flush=True)\n"
        "            seconds = 60\n"
        "            time.sleep(seconds)\n"
        "        except KeyboardInterrupt: pass\n"
    )
    once = Interrupted(["-c", script], "started", [signal.SIGTERM], tmp_path)
    twice = Interrupted(["-c", script], "started", [signal.SIGTERM, signal.SIGINT], tmp_path)
    assert once.code == 143
    assert twice.code in (143, 130)  # of two that come together either may be delivered first, on a busy machine
    assert once.lines[-1] == twice.lines[-1] == MESSAGE
    assert 0.9 < once.seconds < MAX_SECONDS
    assert twice.seconds < 0.9


def test_processes_of_processes_are_ended_too(tmp_path: Path) -> None:
    """Those with a session of their own as well, and those that ignore SIGTERM."""
    child = "trap '' TERM INT; setsid sleep 300 & sleep 300"
    script = (
        "from flows.interruption import ending_on_signals\n"
        "import subprocess, time\n"
        "with ending_on_signals():\n"
        f"    subprocess.Popen(['sh', '-c', {child!r}], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "    time.sleep(0.5)\n"
        "    print('started', flush=True)\n"
        "    time.sleep(60)\n"
    )
    done = Interrupted(["-c", script], "started", [signal.SIGINT], tmp_path)
    assert done.code == 130
    assert done.left == []


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    script = (
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from flows.interruption import ending_on_signals\n"
        "with ending_on_signals():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "print('finished')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "finished\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_is_told_of_an_interrupted_run(prefect_server: None, tmp_path: Path, number: int) -> None:
    url = str(PREFECT_API_URL.value())
    # Time enough on any machine.
    patient = ["-c", f"import flows.interruption\nflows.interruption._GRACE_SECONDS = 30\n{SMALL_DEMO[1]}"]
    done = Interrupted(patient, "Beginning subflow run", [number], tmp_path, PREFECT_API_URL=url)
    assert done.code == 128 + number
    runs = requests.post(f"{url}/flow_runs/filter", json={"sort": "START_TIME_DESC", "limit": 2}, timeout=30).json()
    assert [run["state_type"] for run in runs] == ["CRASHED", "CRASHED"]
