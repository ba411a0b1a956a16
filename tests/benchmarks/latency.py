"""Latency, throughput and memory of a published model: SavedModel and LiteRT, batches of 1, 8 and 64, 1 and 2 cores.

    python tests/benchmarks/latency.py MODEL_FOLDER POSTERS_FOLDER [--seconds 20]

Each line of the table is a process of its own, which is bound to its cores, makes ten calls that are not measured, and
then calls the model with other posters for some seconds. Writes tests/benchmarks/latency.md.
"""

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measuring import HERE

ENGINES = {"saved_model": "SavedModel", "lite": "LiteRT"}
BATCH_SIZES = (1, 8, 64)
NUM_WARM_UP = 10
MIN_CALLS = 20
COLUMNS = ("cores", "model", "batch", "first call, s", "p50, ms", "p99, ms", "posters/s", "peak memory, MB")


def open_engine(engine: str, model: Path) -> Callable[[Sequence[bytes]], object]:
    """Returns the function that predicts a batch of files; imports only what it needs."""
    if engine == "lite":
        from tasks.features.litert import LiteRTNetwork

        return LiteRTNetwork((model / "classifier.tflite").read_bytes()).predict_images
    import tensorflow as tf

    signature = tf.saved_model.load(str(model / "saved_model")).signatures["serving_default"]
    return lambda images: signature(image_bytes=tf.constant(images))["labels"].numpy()


def measure(engine: str, model: Path, posters: Path, batch_size: int, seconds: float) -> dict[str, float]:
    """Returns the columns of a line, but for its first three."""
    files = [path.read_bytes() for path in sorted(posters.iterdir())[:1024]]
    batches = itertools.cycle([files[start : start + batch_size] for start in range(0, len(files), batch_size)])
    start = time.perf_counter()
    predict = open_engine(engine, model)
    predict(next(batches))
    first = time.perf_counter() - start
    for _ in range(NUM_WARM_UP):
        predict(next(batches))
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < MIN_CALLS:
        start = time.perf_counter()
        predict(next(batches))
        times.append(time.perf_counter() - start)
    p50, p99 = np.percentile(times, [50, 99]) * 1000
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"first": first, "p50": p50, "p99": p99, "rate": batch_size * len(times) / sum(times), "peak": peak}


def run_process(engine: str, cores: int, arguments: argparse.Namespace, batch_size: int) -> dict[str, float]:
    """Returns what `measure` returns in a process of its own, bound to so many cores."""
    command = [sys.executable, __file__, arguments.model, arguments.posters, "--seconds", arguments.seconds]
    command += ["--engine", engine, "--batch", batch_size, "--cores", cores]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(list(map(str, command)), env=environment, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def render(rows: Sequence[dict[str, Any]]) -> str:
    """Returns the table, in Markdown."""
    lines = [
        f"| {row['cores']} | {ENGINES[row['engine']]} | {row['batch']} | {row['first']:.1f} | {row['p50']:.0f} | "
        f"{row['p99']:.0f} | {row['rate']:.0f} | {row['peak']:,.0f} |"
        for row in rows
    ]
    return "\n".join([f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *lines]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("posters", type=Path)
    parser.add_argument("--seconds", type=float, default=20, help="of each line")
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--cores", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.engine:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
        print(
            json.dumps(
                measure(arguments.engine, arguments.model, arguments.posters, arguments.batch, arguments.seconds)
            )
        )
        return
    rows = []
    for cores, engine, batch_size in itertools.product((1, 2), ENGINES, BATCH_SIZES):
        figures = run_process(engine, cores, arguments, batch_size)
        rows.append({"cores": cores, "engine": engine, "batch": batch_size, **figures})
        print(rows[-1], flush=True)
    print(render(rows))
    (HERE / "latency.md").write_text(render(rows), "utf-8")


if __name__ == "__main__":
    main()
