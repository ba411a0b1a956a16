"""A server with the deployments, as tests start runs on it and look at them."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from prefect.settings import PREFECT_API_URL, temporary_settings
from requests.adapters import HTTPAdapter
from urllib3.util import Retry
from webhook import Webhook

from flows import serving

PREFECT = str(Path(sys.executable).with_name("prefect"))
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Served:
    """A Prefect server with the deployments, and a worker."""

    api_url: str
    environment: dict[str, str]

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `prefect`, as from a second terminal."""
        command = [PREFECT, *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=240, cwd=ROOT, env=self.environment, check=False
        )

    def start(self, deployment: str, **parameters: object) -> str:
        """Starts a run and returns its id."""
        given = [f"--param={name}={json.dumps(value)}" for name, value in parameters.items()]
        done = self.call("deployment", "run", deployment, *given)
        assert done.returncode == 0, done.stdout + done.stderr
        return next(line for line in done.stdout.splitlines() if "UUID" in line).split()[-1]

    def get(self, path: str) -> Any:
        return self._request("GET", path)

    def post(self, path: str, **body: object) -> Any:
        return self._request("POST", path, json=body)

    def _request(self, method: str, path: str, **arguments: Any) -> Any:
        """Asks as Prefect's own client does: a server whose SQLite file is locked answers 503, and is asked again."""
        retry = Retry(total=5, status_forcelist=[503], allowed_methods=None, backoff_factor=0.5)
        with requests.Session() as session:
            session.mount(self.api_url, HTTPAdapter(max_retries=retry))
            answer = session.request(method, f"{self.api_url}/{path}", timeout=30, **arguments)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def save_block(self, webhook: Webhook) -> str:
        """Saves a notification block of a webhook's own on the server, and returns its type and name."""
        with temporary_settings({PREFECT_API_URL: self.api_url}):
            return webhook.save_block(f"webhook-{urlsplit(webhook.address).port}")

    def read_artifacts(self, run_id: str) -> dict[str, str]:
        """Returns what a run shows, by key. (Results of Prefect's own have none.)"""
        found = self.post("artifacts/filter", artifacts={"flow_run_id": {"any_": [run_id]}})
        return {artifact["key"]: str(artifact["data"]) for artifact in found if artifact["key"]}

    def wait_for(self, run_id: str, *states: str, seconds: float = 120) -> dict[str, Any]:
        """Waits until a run is in one of the states, and returns it."""

        def read() -> dict[str, Any] | None:
            run = self.get(f"flow_runs/{run_id}")
            return run if run["state_type"] in states else None

        return dict(wait(read, seconds))


def environment_with(home: Path) -> dict[str, str]:
    """Returns this process's environment with another PREFECT_HOME, and without the API of this one."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_API")}
    return {**kept, "PREFECT_HOME": str(home)}


@contextlib.contextmanager
def run_server(folder: Path) -> Iterator[Served]:
    """Runs a server without deployments and worker during the block; its database and its log are in a folder."""
    port = find_free_port()
    api_url = f"http://127.0.0.1:{port}/api"
    environment = {
        **environment_with(folder / "prefect"),
        "PREFECT_API_URL": api_url,
        "PREFECT_SERVER_API_PORT": str(port),
    }
    log = folder / "server.log"
    command = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with serving._process(command, ROOT, environment, log) as server:
        serving._wait_until_healthy(api_url, server, log)
        yield Served(api_url, environment)


def wait(read: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := read():
            return answer
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s: {read()}")


def find_free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def list_processes(run_id: str) -> list[int]:
    """Returns the processes of a flow run, by the environment that the worker gave them."""
    return list(find_processes(f"PREFECT__FLOW_RUN_ID={run_id}"))


def find_processes(variable: str) -> dict[int, str]:
    """Returns ids and command lines of the processes that have a variable, `NAME=value`, in their environment."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if variable.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_text("utf-8").replace("\0", " ")
    return found
