"""The deployments, on a real server with a real worker: what the README's commands start, and `poster-genres serve`."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Served, environment_with, find_free_port, list_processes, wait
from webhook import listen

from flows.settings_file import read_settings_file
from tasks.registry.models import list_models
from tasks.settings import FeatureSettings

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.schedule


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, make_prefect_home) -> Iterator[Served]:
    port = find_free_port()
    api_url = f"http://127.0.0.1:{port}/api"
    environment = {
        **environment_with(make_prefect_home(tmp_path_factory.mktemp("served") / "prefect")),
        "PREFECT_API_URL": api_url,
        # Between two looks of a waiting run whether it may start; 30 by default.
        "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
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
            yield Served(api_url, environment)
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
    assert weekly["parameters"] == {"settings": read_settings_file(ROOT / "settings.yaml")}
    assert weekly["global_concurrency_limit"]["limit"] == 1
    assert weekly["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    assert all(deployment["work_pool_name"] == "poster-genres" for deployment in found.values())
    assert len(served.post("automations/filter")) == 1
    assert "cron: 0 6 * * 1" in served.call("deployment", "schedule", "ls", "train/weekly").stdout
    settings = served.get("admin/settings")
    assert settings["server"]["analytics_enabled"] is False


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ('settings={"training": {"epoch": 3}}', "('epoch' was unexpected)"),
        ('settings={"training": {"epochs": 0}}', "0 is less than the minimum of 1"),
        ('settings={"posters": {"connections": "many"}}', "'many' is not of type 'integer'"),
        ('overrides={"training": {"epoch": 3}}', "('epoch' was unexpected)"),
    ],
)
def test_wrong_settings_are_refused_before_anything_runs(served: Served, given: str, says: str) -> None:
    before = list_requested_runs(served)
    done = served.call("deployment", "run", "train/weekly", "-p", given)
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
        "overrides": {
            "evaluation": {"baselines": [], "label_error_folds": None},
            "export": {"tflite": False, "index": False},
        },
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
    # Stages that take some seconds have one of their progress, too.
    results = {key for key in artifacts if not key.startswith("progress-")}
    assert results == {"counts", "drift", "metrics", "report", "report-file", "model", "gate"}
    assert model.id in artifacts["model"]
    assert "floor" in artifacts["gate"]
    assert f"{model.read_manifest()['macro_f1']:.3f}" in artifacts["report"]
    assert artifacts["report-file"].endswith(f"/artifacts/models/{model.id}/report.html)")
    names = {
        task["name"].rsplit("-", 1)[0]
        for task in served.post("task_runs/filter", flow_runs={"id": {"any_": [first["id"]]}}, sort="NAME_ASC")
    }
    assert {
        "read catalog",
        "download posters part",
        "write dataset",
        "extract features movie-posters-train-00000-of",
        "train head fast",
        "evaluate",
        "export model",
        "publish model",
    } <= names

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


def test_a_run_that_hangs_is_ended_and_the_next_one_starts(served: Served, tmp_path: Path) -> None:
    """At a server that takes the request for the catalog, and never answers; overrides change what they name alone."""
    overrides = {
        "data_dir": str(tmp_path / "data"),
        "posters": {"allow_private_hosts": ["127.0.0.1"]},
        "max_hours": 5 / 3600,
    }
    with socket.create_server(("127.0.0.1", 0)) as silent, listen() as webhook:
        source = f"http://127.0.0.1:{silent.getsockname()[1]}/MovieGenre.csv"
        overrides |= {"catalog": {"source": source}, "notify": {"block": served.save_block(webhook)}}
        hung = served.start("train/weekly", overrides=overrides)
        served.wait_for(hung, "RUNNING")
        assert list_processes(hung)
        (weekly,) = served.post("deployments/filter", deployments={"name": {"any_": ["weekly"]}})
        given = {**weekly["parameters"], "overrides": {**overrides, "catalog": {"source": "none.csv"}}}
        path = f"deployments/{weekly['id']}/create_flow_run"
        waiting = served.post(path, parameters=given, state={"type": "SCHEDULED"})["id"]
        ended = served.wait_for(hung, "FAILED")
        after = served.wait_for(waiting, "FAILED")
        wait(lambda: len(webhook.received) == 2 and not list_processes(hung), seconds=30)
    assert ended["state"]["name"] == "TimedOut"
    assert "the run took longer than 0.00138889 hours (max_hours)" in ended["state"]["message"]
    assert ended["parameters"]["settings"]["wait_seconds"] == 3600
    assert "none.csv" in after["state"]["message"]
    assert ended["end_time"] < after["start_time"]
    subjects = [received["subject"] for received in webhook.received]
    assert subjects == [f"poster-genres: run {run['name']} ended as {run['state']['name']}" for run in (ended, after)]
    assert f"{served.api_url.removesuffix('/api')}/runs/flow-run/{hung}" in webhook.received[0]["body"]


@pytest.mark.cluster
def test_the_runner_is_chosen_by_a_runs_parameters(served: Served, tmp_path: Path, closed_port: int) -> None:
    row = "1,link,Film (1995),7.0,Drama,http://127.0.0.1/1.jpg\n"
    (tmp_path / "films.csv").write_text(f"imdbId,Imdb Link,Title,IMDB Score,Genre,Poster\n{row}", "utf-8")
    overrides = {
        "data_dir": str(tmp_path / "data"),
        "catalog": {"source": str(tmp_path / "films.csv")},
        "runner": {"kind": "dask", "address": f"tcp://127.0.0.1:{closed_port}"},
    }
    run = served.wait_for(served.start("train/weekly", overrides=overrides), "FAILED")
    assert f"the Dask cluster at tcp://127.0.0.1:{closed_port} has no scheduler" in run["state"]["message"]


def test_a_killed_run_is_marked_as_crashed(served: Served, tmp_path: Path, hold_lock) -> None:
    # A lock that is held makes the run wait where it can be killed.
    data_dir = tmp_path / "data"
    with hold_lock(data_dir, "a test"), listen() as webhook:
        settings = {"catalog": {"source": "none.csv"}, "data_dir": str(data_dir), "wait_seconds": 300}
        settings["notify"] = {"block": served.save_block(webhook)}
        run = served.wait_for(served.start("train/weekly", settings=settings), "RUNNING")
        os.kill(list_processes(run["id"])[0], signal.SIGKILL)
        crashed = served.wait_for(run["id"], "CRASHED")
        (received,) = wait(lambda: webhook.received, seconds=30)  # from the worker
    assert "SIGKILL" in crashed["state"]["message"]
    assert received["subject"] == f"poster-genres: run {run['name']} ended as Crashed"
    failure = wait(lambda: served.read_artifacts(run["id"]).get("failure"), seconds=30)
    assert "the next run continues where this one stopped" in failure
