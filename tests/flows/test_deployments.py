"""The deployments, on a real server with a real worker: what the README's commands start, and `poster-genres serve`."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tasks.registry.models import list_models
from tasks.settings import FeatureSettings

PREFECT = str(Path(sys.executable).with_name("prefect"))
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Served:
    """A running `poster-genres serve`."""

    process: subprocess.Popen[str]
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

    def post(self, path: str, **body: object) -> Any:
        return requests.post(f"{self.api_url}/{path}", json=body, timeout=30).json()

    def read_artifacts(self, run_id: str) -> dict[str, str]:
        """Returns what a run shows, by key. (Results of Prefect's own have none.)"""
        found = self.post("artifacts/filter", artifacts={"flow_run_id": {"any_": [run_id]}})
        return {artifact["key"]: str(artifact["data"]) for artifact in found if artifact["key"]}

    def wait_for(self, run_id: str, *states: str) -> dict[str, Any]:
        """Waits until a run is in one of the states, and returns it."""

        def read() -> dict[str, Any] | None:
            run = requests.get(f"{self.api_url}/flow_runs/{run_id}", timeout=30).json()
            return run if run["state_type"] in states else None

        return wait(read)


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


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    port = find_free_port()
    api_url = f"http://127.0.0.1:{port}/api"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_API")},
        "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect")),
        "PREFECT_API_URL": api_url,
    }
    command = [sys.executable, "-m", "flows.cli", "serve", "--port", str(port)]
    log = tmp_path_factory.mktemp("log") / "serve.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True
        )
        try:
            wait(lambda: "ready  " in log.read_text() or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            yield Served(process, api_url, environment)
        finally:
            process.terminate()
            process.wait(60)
    # Nothing of it is left.
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert "stopped" in log.read_text()


def test_deployments_are_there_as_described(served: Served) -> None:
    found = {deployment["name"]: deployment for deployment in served.post("deployments/filter")}
    assert set(found) == {"weekly", "demo", "label"}
    weekly = found["weekly"]
    assert [schedule["schedule"]["cron"] for schedule in weekly["schedules"]] == ["0 6 * * 1"]
    assert weekly["global_concurrency_limit"]["limit"] == 1
    assert weekly["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    assert all(deployment["work_pool_name"] == "poster-genres" for deployment in found.values())
    assert len(served.post("automations/filter")) == 1
    settings = requests.get(f"{served.api_url}/admin/settings", timeout=30).json()
    assert settings["server"]["analytics_enabled"] is False


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"training": {"epoch": 3}}, "('epoch' was unexpected)"),
        ({"training": {"epochs": 0}}, "0 is less than the minimum of 1"),
        ({"posters": {"connections": "many"}}, "'many' is not of type 'integer'"),
    ],
)
def test_wrong_settings_are_refused_before_anything_runs(served: Served, settings: object, says: str) -> None:
    before = list_requested_runs(served)
    done = served.call("deployment", "run", "train/weekly", "-p", f"settings={json.dumps(settings)}")
    assert done.returncode == 1
    assert says in " ".join(done.stdout.split()) + " ".join(done.stderr.split())
    assert list_requested_runs(served) == before


def list_requested_runs(served: Served) -> set[str]:
    """Returns the ids of the runs that the schedule did not make: it makes its next ones at any moment."""
    runs = served.post("flow_runs/filter", limit=200)
    return {run["id"] for run in runs if not run["auto_scheduled"]}


@pytest.mark.backbone
def test_a_watched_run_makes_a_model_and_the_next_is_up_to_date(
    served: Served, wheel_settings: FeatureSettings, tmp_path: Path
) -> None:
    parameters = {
        "data_dir": str(tmp_path / "data"),
        "artifacts_dir": str(tmp_path / "artifacts"),
        "num_films": 120,
        "features": wheel_settings.model_dump(mode="json"),
    }
    given = [f"--param={name}={json.dumps(value)}" for name, value in parameters.items()]
    for _ in range(2):
        done = served.call("deployment", "run", "demo/demo", "--watch", *given)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "finished successfully in 'Completed'" in " ".join(done.stdout.split())
    (model,) = list_models(tmp_path / "artifacts")
    runs = served.post("flow_runs/filter", flows={"name": {"any_": ["train"]}}, sort="START_TIME_ASC")
    first, second = (run for run in runs if run["state_type"] == "COMPLETED")

    artifacts = served.read_artifacts(first["id"])
    assert set(artifacts) == {"counts", "metrics", "report", "report-file", "model"}
    assert model.id in artifacts["model"]
    assert f"{model.read_manifest()['macro_f1']:.3f}" in artifacts["report"]
    assert artifacts["report-file"].endswith(f"/artifacts/models/{model.id}/report.md)")
    names = {
        task["name"].rsplit("-", 1)[0]
        for task in served.post("task_runs/filter", flow_runs={"id": {"any_": [first["id"]]}}, sort="NAME_ASC")
    }
    assert {
        "read catalog",
        "download posters part",
        "write dataset",
        "extract features movie-posters-train-00000-of",
        "train head default",
        "evaluate",
        "export model",
        "publish model",
    } <= {name.removesuffix("-default") if name == "train head default" else name for name in names}

    messages = [
        log["message"]
        for log in served.post(
            "logs/filter", logs={"flow_run_id": {"any_": [second["id"]]}}, sort="TIMESTAMP_ASC", limit=100
        )
    ]
    assert f"registry: up to date, the inputs of {model.id} have not changed" in messages
    assert second["total_run_time"] < 30


def test_a_failed_run_says_why(served: Served, tmp_path: Path) -> None:
    folders = {"output_dir": str(tmp_path / "labels"), "artifacts_dir": str(tmp_path)}
    run = served.wait_for(served.start("label/label", source="nowhere", **folders), "FAILED")
    assert f"there is no champion in {tmp_path}" in run["state"]["message"]
    artifacts = wait(lambda: served.read_artifacts(run["id"]), seconds=30)
    assert set(artifacts) == {"failure"}
    assert f"RegistryError: there is no champion in {tmp_path}" in artifacts["failure"]


def test_a_killed_run_is_marked_as_crashed(served: Served, tmp_path: Path, hold_lock) -> None:
    # A lock that is held makes the run wait where it can be killed.
    data_dir = tmp_path / "data"
    with hold_lock(data_dir, "a test"):
        settings = {"catalog": {"source": "none.csv"}, "data_dir": str(data_dir), "wait_seconds": 300}
        run = served.wait_for(served.start("train/weekly", settings=settings), "RUNNING")
        os.kill(find_process(run["id"]), signal.SIGKILL)
        crashed = served.wait_for(run["id"], "CRASHED")
    assert "SIGKILL" in crashed["state"]["message"]
    artifacts = wait(lambda: served.read_artifacts(run["id"]), seconds=30)
    assert "the next run continues where this one stopped" in artifacts["failure"]


def find_process(run_id: str) -> int:
    """Returns the process of a flow run, by the environment that the worker gave it."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"PREFECT__FLOW_RUN_ID={run_id}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                return int(folder.name)
    raise AssertionError(f"no process runs {run_id}")
