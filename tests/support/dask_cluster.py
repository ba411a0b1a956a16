"""A Dask scheduler and two workers in processes of their own, as `dask scheduler` and `dask worker` start them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import distributed
from served import wait

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Cluster:
    """A running cluster.

    Attributes:
        address: Address of the scheduler.
        groups: Process groups of the scheduler and of each worker with its nanny.
        start: Function that starts a process of the cluster, `scheduler` or `worker`.
    """

    address: str
    groups: list[int] = field(default_factory=list)
    start: Callable[[str], None] = lambda _: None

    def list_busy_workers(self) -> list[int]:
        """Returns the ids of the worker processes that run a task now."""
        with distributed.Client(self.address, set_as_default=False) as client:
            ids = client.run(os.getpid)
            return [ids[worker] for worker, tasks in client.processing().items() if tasks]


@contextmanager
def run_cluster(folder: Path, num_workers: int = 2, **environment: str) -> Iterator[Cluster]:
    """Runs a cluster on loopback, which has no variables of Prefect's but those given; nothing is left of it.

    Args:
        folder: Folder of its files and logs.
        num_workers: Number of workers, of one thread each.
        environment: Environment variables of the processes.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    settings = {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}",
        "PREFECT_HOME": str(folder / "prefect"),
        **environment,
    }
    cluster = Cluster("")
    file = folder / "scheduler.json"
    place = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(file)]
    options = {
        "scheduler": ["--port", "0"],
        "worker": ["--nthreads", "1", "--memory-limit", "0"],
    }
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((folder / "cluster.log").open("w"))

        def start(name: str) -> None:
            started = subprocess.Popen(
                [sys.executable, "-P", "-m", f"distributed.cli.dask_{name}", *place, *options[name]],
                env=kept | settings,
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            cluster.groups.append(started.pid)
            stack.callback(started.wait, 30)

        cluster.start = start
        try:
            for name in ["scheduler", *["worker"] * num_workers]:
                start(name)
            wait(file.exists, 60)
            cluster.address = json.loads(file.read_text())["address"]
            with distributed.Client(cluster.address, set_as_default=False) as client:
                client.wait_for_workers(num_workers, timeout=90)
            yield cluster
            assert not list_prefect_servers(settings["PREFECT_HOME"])
        finally:
            for group in cluster.groups:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)
    # A killed process takes a moment to be gone.
    wait(lambda: not list_group_members(cluster.groups), 30)


def list_group_members(groups: list[int]) -> list[int]:
    """Returns the ids of the living processes of some process groups."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, group = path.read_text("utf-8", "replace").rpartition(")")[2].split()[:3]
            if state not in "ZX" and int(group) in groups:
                found.append(int(path.parent.name))
    return found


def list_prefect_servers(home: str) -> list[str]:
    """Returns the command lines of the servers that a process with this PREFECT_HOME has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (path / "cmdline").read_text("utf-8", "replace").replace("\0", " ")
            if "prefect.server" in command and f"PREFECT_HOME={home}".encode() in (path / "environ").read_bytes():
                found.append(command)
    return found
