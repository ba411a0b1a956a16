"""Two runs at once on one Dask cluster, each with a temporary Prefect server of its own."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from counting_server import count_requests
from dask_cluster import run_cluster

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.cluster

# Prints how often each state is that of one of the run's tasks on its server, which learns of a state by an event; then
# waits, with the server.
SCRIPT = """
import sys, time
from collections import Counter
from pathlib import Path
import pyarrow as pa
from prefect.client.orchestration import get_client
from spread_downloads import NUM_POSTERS, SETTINGS, download
from tasks.settings import RunnerSettings
address, base_url, folder = sys.argv[1:]
numbers = range(NUM_POSTERS)
films = pa.table({"imdb_id": numbers, "poster_url": [f"{base_url}/{number}.jpg" for number in numbers]})
_, run_id = download(films, Path(folder), SETTINGS, RunnerSettings(kind="dask", address=address))
end = time.monotonic() + 30
with get_client(sync_client=True) as client:
    while True:
        states = Counter(run.state.name for run in client.read_task_runs(limit=200) if str(run.flow_run_id) == run_id)
        if states == {"Completed": 4} or time.monotonic() > end:
            break
        time.sleep(0.5)
print("states", dict(states), flush=True)
sys.stdin.read()
"""


def start(folder: Path, address: str, base_url: str) -> subprocess.Popen[str]:
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, address, base_url, str(folder)],
        env={
            **environment,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}",
            "PREFECT_HOME": str(folder / "prefect"),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_states(run: subprocess.Popen[str]) -> str:
    """Returns the line with the states; where there is none, all that the run wrote."""
    assert run.stdout
    lines = []
    for line in run.stdout:
        if line.startswith("states"):
            return line.strip()
        lines.append(line)
    return "".join(lines)


def test_each_run_s_server_learns_what_becomes_of_its_tasks(tmp_path: Path) -> None:
    """The second one works while the first one's server still runs."""
    with count_requests() as server, run_cluster(tmp_path) as cluster, contextlib.ExitStack() as stack:
        for name in ("one", "other"):
            run = stack.enter_context(start(tmp_path / name, cluster.address, server.base_url))
            stack.callback(run.stdin.close)
            assert read_states(run) == "states {'Completed': 4}"
