"""The automation of automations.yaml, by a run that is killed together with its worker. It waits for two minutes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from served import Served, list_processes, run_server, wait
from webhook import Webhook, listen

from flows import serving

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.schedule


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server without a worker."""
    with run_server(tmp_path) as served:
        yield served


def write_automation(served: Served, webhook: Webhook, path: Path) -> Path:
    """Writes the automation with its optional action, the notification, as its comment says."""
    text = (ROOT / "automations.yaml").read_text("utf-8").replace("  # - type", "  - type").replace("  #   ", "    ")
    name = served.save_block(webhook).partition("/")[2]
    (block,) = served.post("block_documents/filter", block_documents={"name": {"any_": [name]}})
    path.write_text(text.replace("00000000-0000-0000-0000-000000000000", block["id"]), "utf-8")
    given, written = (yaml.safe_load(file.read_text("utf-8")) for file in (ROOT / "automations.yaml", path))
    assert written["actions"].pop()["block_document_id"] == block["id"]
    assert written == given
    return path


def test_a_run_that_is_killed_with_its_worker_is_marked_as_crashed(served: Served, tmp_path: Path, hold_lock) -> None:
    # Both wait for a lock, longer than the test takes. The other, in a folder without a prefect.toml, lives.
    data_dir = tmp_path / "data"
    settings = {"catalog": {"source": "none.csv"}, "data_dir": str(data_dir), "wait_seconds": 900}
    script = f"from flows.train import train; train({settings!r})"
    with listen() as webhook, hold_lock(data_dir, "a test"):
        file = write_automation(served, webhook, tmp_path / "automations.yaml")
        done = served.call("automation", "create", "--from-file", str(file))
        assert done.returncode == 0, done.stdout + done.stderr
        serving._set_up(ROOT, served.environment)
        (automation,) = served.post("automations/filter")
        assert automation["trigger"]["within"] == 90
        environment = {**served.environment, "PYTHONPATH": str(ROOT)}
        end_by_time_limit(tmp_path, environment)
        living = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=environment)
        try:
            with serving._process(["worker", "start", "--pool", serving.WORK_POOL], ROOT, served.environment) as worker:
                run = served.wait_for(served.start("train/weekly", settings=settings), "RUNNING")
                wait(lambda: count_heartbeats(served, run["id"]), seconds=60)
                os.killpg(worker.pid, signal.SIGKILL)
                for process in list_processes(run["id"]):
                    os.kill(process, signal.SIGKILL)
            crashed = served.wait_for(run["id"], "CRASHED", seconds=200)
            wait(lambda: webhook.received, seconds=30)
            (other,) = served.post("flow_runs/filter", flow_runs={"state": {"type": {"any_": ["RUNNING"]}}})
            (timed_out,) = served.post("flow_runs/filter", flows={"name": {"any_": ["hang"]}})
            assert living.poll() is None
            (received,) = webhook.received
        finally:
            living.kill()
            living.wait()
    assert crashed["state"]["message"] == "No heartbeat of this run for 90 seconds."
    assert received["subject"] == f"poster-genres: run {run['name']} crashed"
    assert f"/runs/flow-run/{run['id']}" in received["body"]
    assert timed_out["state"]["name"] == "TimedOut"  # still
    assert other["id"] != run["id"]
    assert other["estimated_run_time"] > 90


def end_by_time_limit(cwd: Path, environment: dict[str, str]) -> None:
    """Runs a flow to its time limit, whose end is an event with a name of its own."""
    script = (
        "import time, prefect, flows\n"
        "from flows.time_limit import time_limit\n"
        "@prefect.flow\n"
        "def hang():\n"
        "    with time_limit(2 / 3600): time.sleep(60)\n"
        "hang(return_state=True)\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=cwd, env=environment, timeout=60, check=True)


def count_heartbeats(served: Served, run_id: str) -> int:
    resource = {"id": [f"prefect.flow-run.{run_id}"]}
    criteria = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": resource}
    return int(served.post("events/filter", filter=criteria)["total"])
