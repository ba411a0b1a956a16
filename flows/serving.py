"""Server, work pool, deployments and worker for scheduled runs, on one machine."""

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import requests

from flows.configuration import load_settings
from flows.interruption import other_handling
from flows.project import find_project
from tasks.errors import PosterGenresError, SettingsError

WORK_POOL = "poster-genres"
AUTOMATION = "crash runs that are not heard of"  # the name in automations.yaml

SERVER_LOG = Path("data", "logs", "server.log")

_PREFECT = str(Path(sys.executable).with_name("prefect"))
_START_SECONDS = 120
_STOP_SECONDS = 30
_POLL_SECONDS = 0.5


class ServingError(PosterGenresError):
    """The server, the worker or the set-up between them failed."""

    exit_code = 1


def serve(port: int) -> None:
    """Starts a Prefect server on 127.0.0.1, registers the deployments of `prefect.yaml`, and runs a worker.

    All of them work in the project's folder: the working directory, or else the checkout. Returns on SIGINT or SIGTERM,
    after the worker and then the server have stopped.

    Args:
        port: Port of the server, its API and its dashboard.

    Raises:
        SettingsError: The port is taken, there is no `prefect.yaml`, or a setting is wrong.
        ServingError: The server or the worker does not start, or stops by itself.
    """
    project = find_project()
    if (project / "settings.yaml").is_file():
        load_settings(project / "settings.yaml")  # `prefect deploy` would fail without the reason
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise SettingsError(f"something listens on port {port} already: choose another with --port")
    api_url = f"http://127.0.0.1:{port}/api"
    # Both, or the dashboard looks at another port than the server's.
    environment = {**os.environ, "PREFECT_API_URL": api_url, "PREFECT_SERVER_API_PORT": str(port)}
    log = project / SERVER_LOG
    with signals_interrupt():
        try:
            command = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
            server = _process(command, project, environment, log)
            with server as server_process:
                _wait_until_healthy(api_url, server_process, log)
                _set_up(project, environment)
                with _process(["worker", "start", "--pool", WORK_POOL], project, environment) as worker_process:
                    _print_next_steps(port, api_url)
                    _wait_until_one_stops({"server": server_process, "worker": worker_process}, log)
        except KeyboardInterrupt:
            print("stopped", flush=True)


def _set_up(project: Path, environment: Mapping[str, str]) -> None:
    _call(["work-pool", "create", WORK_POOL, "--type", "process", "--overwrite"], project, environment)
    _call(["--no-prompt", "deploy", "--all"], project, environment)
    if _run(["automation", "inspect", AUTOMATION], project, environment).returncode:
        _call(["automation", "create", "--from-file", "automations.yaml"], project, environment)


def _print_next_steps(port: int, api_url: str) -> None:
    print(
        f"\ndashboard  http://127.0.0.1:{port}\n"
        "ready      train/weekly (Mondays, 06:00 UTC), demo/demo, label/label; Ctrl-C stops everything\n"
        "to start one from a second terminal:\n"
        f"    export PREFECT_API_URL={api_url} DO_NOT_TRACK=1\n"
        f"    {shlex.quote(_PREFECT)} deployment run demo/demo --watch\n",
        flush=True,
    )


def _wait_until_healthy(api_url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            if requests.get(f"{api_url}/health", timeout=5).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(_POLL_SECONDS)
    raise ServingError(f"the server did not start within {_START_SECONDS} s: see {log}")


def _wait_until_one_stops(processes: Mapping[str, subprocess.Popen[bytes]], log: Path) -> None:
    while True:
        for name, process in processes.items():
            if process.poll() is not None:
                raise ServingError(f"the {name} stopped by itself, exit code {process.returncode}: see above and {log}")
        time.sleep(_POLL_SECONDS)


@contextmanager
def _process(
    arguments: list[str], project: Path, environment: Mapping[str, str], log: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a `prefect` command in a folder during the block; then ends it and all processes that it started."""
    output = None
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
        output = log.open("ab")
    # A session of its own: Ctrl-C in the terminal reaches this process alone, which stops the others in order.
    process = subprocess.Popen(
        [_PREFECT, *arguments],
        cwd=project,
        env=environment,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # The rest of its session. (Flow runs have sessions of their own: the worker ends them when it stops.)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if output:
            output.close()


def _run(arguments: list[str], project: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [_PREFECT, *arguments],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_START_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ServingError(
            f"`prefect {shlex.join(arguments)}` did not finish within {_START_SECONDS} s: see {project / SERVER_LOG}, "
            "and try again when the machine is less busy"
        ) from error


def _call(arguments: list[str], project: Path, environment: Mapping[str, str]) -> None:
    done = _run(arguments, project, environment)
    if done.returncode:
        last_line = " ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-1:])
        raise ServingError(
            f"`prefect {shlex.join(arguments)}` failed: {last_line}; see {project / SERVER_LOG}, and try again"
        )


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Makes SIGTERM, which a service manager sends, end the block as Ctrl-C does.

    SIGINT has a handler, too: where it is ignored, as in the background of a script, child processes would ignore it,
    and Prefect's worker stops on it.
    """

    def interrupt(*_: object) -> None:
        # Once: a second signal must not leave half of the processes running.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    # The command line's own handling ends a command sooner than server and worker can stop in order.
    with other_handling():
        previous = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
