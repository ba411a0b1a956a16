"""What a run takes, counted from outside: by stage, as its lines name them; by process; by requests to the store."""

import collections
import contextlib
import logging
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import boto3
import psutil
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

# The stages of the lines of a run's log that have another name before the colon.
STAGES = {"split": "dataset", "backbone": "features"}
OWN_STAGES = ("catalog", "posters", "dataset", "features", "training", "evaluation", "export", "registry", "tracking")
LINE = re.compile(r"\d\d:\d\d:\d\d (\w+): ")
SECONDS_BETWEEN_SAMPLES = 2
Row = collections.Counter[str]


@contextlib.contextmanager
def serve_store(counts: collections.Counter[str], bucket: str) -> Iterator[dict[str, str]]:
    """Serves an S3-compatible store, which counts requests and bytes; it keeps objects in temporary files.

    Args:
        counts: Gets the counts, from the moment that the bucket exists.
        bucket: Name of a new bucket. Its content stays as long as this process.

    Yields:
        The environment variables of whoever uses it; this process has them, too.
    """
    os.environ["MOTO_S3_DEFAULT_KEY_BUFFER_SIZE"] = "65536"
    application = DomainDispatcherApplication(create_backend_app)

    def counted(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        if method == "GET" and "list-type" in environ["QUERY_STRING"]:
            method = "LIST"
        counts[method] += 1
        counts["bytes sent"] += int(environ.get("CONTENT_LENGTH") or 0)

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            if method == "GET":
                counts["bytes read"] += int(dict(headers).get("Content-Length", 0))
            return start_response(status, headers, *more)

        return application(environ, start)

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line a request
    server = make_server("127.0.0.1", 0, counted, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    os.environ |= variables
    boto3.client("s3").create_bucket(Bucket=bucket)
    counts.clear()
    yield variables
    server.shutdown()
    thread.join()


def list_tree(pids: Iterable[int]) -> list[psutil.Process]:
    """Returns processes and all that they have started."""
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            found += [process, *process.children(recursive=True)]
    return found


def measure_processors(processes: Iterable[psutil.Process]) -> float:
    """Returns the seconds of processors of processes, and of the children that they have waited for."""
    seconds = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


class Sampling(threading.Thread):
    """Keeps the peak of the resident size of each process, in GiB, by its name."""

    def __init__(self, list_named: Callable[[], Iterable[tuple[str, psutil.Process]]]) -> None:
        super().__init__(daemon=True)
        self._list_named = list_named
        self._is_over = threading.Event()
        self.peaks: dict[str, float] = {}

    def run(self) -> None:
        while not self._is_over.wait(SECONDS_BETWEEN_SAMPLES):
            for name, process in self._list_named():
                with contextlib.suppress(psutil.NoSuchProcess):
                    self.peaks[name] = max(self.peaks.get(name, 0), process.memory_info().rss / 2**30)

    def stop(self) -> None:
        self._is_over.set()
        self.join()


def follow(process: subprocess.Popen[str], pids: list[int], counts: collections.Counter[str]) -> dict[str, Row]:
    """Passes the run's lines on, and counts what happened before a line for the stage that the line names."""
    rows: dict[str, Row] = collections.defaultdict(collections.Counter)

    def read_all() -> dict[str, float]:
        processors = {"processors": measure_processors(list_tree(pids)), "servers": time.process_time()}
        return {**counts, **processors, "seconds": time.perf_counter()}

    before = read_all()
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        if found := LINE.match(line):
            stage = STAGES.get(found[1], found[1])
            now = read_all()
            rows[stage if stage in OWN_STAGES else "other"].update(
                {name: value - before.get(name, 0) for name, value in now.items()}
            )
            before = now
    return rows
