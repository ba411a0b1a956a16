"""Downloads beside img2dataset, from nginx on loopback."""

import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from measuring import REAL_POSTERS, ROOT, Results, compare, take_turns

from tasks.posters.task import plan_downloads
from tasks.posters.workers import Workers
from tasks.progress import Progress
from tasks.settings import PosterSettings

IMG2DATASET = ROOT / ".bench-venv" / "bin" / "img2dataset"
NUM_PROCESSES = 2


@contextmanager
def nginx(folder: Path, work: Path) -> Iterator[str]:
    """Serves a folder with nginx on a free port of loopback; yields the base address."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        sys.exit("no nginx: install Debian's package nginx-light")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = work / "nginx.conf"
    config.write_text(
        f"daemon off; worker_processes 1; pid {work}/pid; error_log {work}/error.log; user root;\n"
        "events { worker_connections 512; }\n"
        "http { access_log off; sendfile on; keepalive_requests 1000000; types { image/jpeg jpg; }\n"
        f"  server {{ listen 127.0.0.1:{port}; root {folder.resolve()}; }} }}\n"
    )
    with subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL) as process:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def measure(work: Path) -> Results:
    """Posters a second to disk over a whole run, the start of its processes included, every poster decoded by ours."""
    ids = sorted(int(path.stem) for path in (REAL_POSTERS / "posters").iterdir())
    with nginx(REAL_POSTERS, work) as base_url:
        urls = [f"{base_url}/posters/{imdb_id}.jpg" for imdb_id in ids]
        films = work / "films.parquet"
        pq.write_table(pa.table({"imdb_id": ids, "poster_url": urls}), films)
        (work / "urls.txt").write_text("\n".join(urls))
        own_rates: dict[str, list[float]] = {"no": [], "keep_ratio": []}

        def theirs(mode: str) -> float:
            seconds, own_rate = _run_img2dataset(work, mode)
            own_rates[mode].append(own_rate)
            return len(ids) / seconds

        found = take_turns(
            {
                "poster-genres": lambda: len(ids) / _run_ours(work, films, len(ids)),
                "img2dataset resize_mode=no": lambda: theirs("no"),
                "img2dataset keep_ratio 224": lambda: theirs("keep_ratio"),
            }
        )
    own = {f"img2dataset {mode}, by its own count": rates for mode, rates in own_rates.items()}
    return {
        "posters to disk, the whole command": compare("posters/s", found),
        "posters to disk": compare("posters/s", {"poster-genres, start included": found["poster-genres"], **own}),
    }


def _run_ours(work: Path, films: Path, count: int) -> float:
    folder = work / "posters"
    shutil.rmtree(folder, ignore_errors=True)
    settings = PosterSettings(allow_private_hosts=("127.0.0.1",))
    start = time.perf_counter()
    plans = plan_downloads(pq.read_table(films), folder, settings)
    progress = Progress("posters", count)
    with Workers(NUM_PROCESSES) as workers, ThreadPoolExecutor(NUM_PROCESSES) as pool:
        jobs = [plan.make_job(folder, settings) for plan in plans]
        outcomes = list(pool.map(lambda job: workers.download(job, progress), jobs))
    seconds = time.perf_counter() - start
    assert sum(outcome["new"] for outcome in outcomes) == count
    return seconds


def _run_img2dataset(work: Path, mode: str) -> tuple[float, float]:
    """Returns the seconds of the command, and the posters a second that it says it got."""
    folder = work / "img2dataset"
    shutil.rmtree(folder, ignore_errors=True)
    options = {
        "url_list": work / "urls.txt",
        "input_format": "txt",
        "output_folder": folder,
        "output_format": "files",
        "processes_count": NUM_PROCESSES,
        "thread_count": 16,
        "resize_mode": mode,
        "image_size": 224,
        "number_sample_per_shard": 1000,
    }
    command = [str(IMG2DATASET), *(f"--{name}={value}" for name, value in options.items())]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    seconds = time.perf_counter() - start
    rates = re.findall(r"total .*success: 1\.000.*images per sec: (\d+)", done.stdout + done.stderr)
    return seconds, float(rates[-1])
