"""Ctrl-C in a terminal, and SIGKILL, while worker processes of a run download: none of them is left."""

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from counting_server import count_requests
from served import find_processes, wait

ROOT = Path(__file__).resolve().parents[2]
NUM_FILMS = 400

pytestmark = pytest.mark.cluster


def find_workers(mark: str) -> list[str]:
    """Returns the command lines of the processes that have a variable in their environment, Prefect's server aside."""
    return [command for command in find_processes(mark).values() if "uvicorn" not in command]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("kind", ["processes", "dask"])
def test_no_worker_is_left(tmp_path: Path, kind: str, number: signal.Signals) -> None:
    mark = f"INTERRUPTED_TEST={uuid.uuid4()}"
    name, _, value = mark.partition("=")
    with count_requests() as server:
        server.seconds, server.with_clients = 1.0, True
        rows = "".join(f"{film},link,Film (1995),7.0,Drama,{server.url(film)}\n" for film in range(NUM_FILMS))
        (tmp_path / "films.csv").write_text(f"imdbId,Imdb Link,Title,IMDB Score,Genre,Poster\n{rows}", "utf-8")
        given = {
            "runner.kind": kind,
            "runner.workers": 2,
            "posters.posters_per_part": 100,
            "posters.connections": 4,
            "posters.allow_private_hosts": "[127.0.0.1]",
        }
        options = [f"--set={setting}={chosen}" for setting, chosen in given.items()]
        with subprocess.Popen(
            [sys.executable, "-m", "flows", "run", "--catalog", "films.csv", *options],
            cwd=tmp_path,
            env={**os.environ, name: value, "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(tmp_path / "prefect")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:
            wait(lambda: len(server.clients) == 2 or process.poll() is not None, 240)
            if number == signal.SIGINT:
                os.killpg(process.pid, number)  # as a terminal does
            else:
                process.send_signal(number)
            code = process.wait(30)
            wait(lambda: not find_workers(mark), 30)
            subprocess.run(["pkill", "-KILL", "-s", str(process.pid)], check=False)  # Prefect's server
            assert process.stdout is not None
            output = process.stdout.read()
    if number == signal.SIGINT:
        assert code == 130, output
        # Prefect's temporary server may print lines after it.
        assert "poster-genres: interrupted; run it again to go on where it was" in output.splitlines()
