"""Runs and labels of the real posters by each kind of runner, in turns: seconds, memory, requests to the store.

    python runners.py [--rounds 3] [--before CHECKOUT]

With a checkout of an earlier version, its run in threads takes its turn, too. Takes half an hour, alone on a machine
with two cores, and writes runners.md.
"""

import argparse
import collections
import contextlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from counting import Sampling, follow, list_tree, serve_store
from measuring import HERE, REAL_POSTERS, ROOT, script_environment

sys.path.insert(0, str(ROOT / "tests" / "support"))

from dask_cluster import run_cluster
from served import run_server

STAGES = ("posters", "dataset", "features")
BEFORE = "threads, before"
AT_ADDRESS = "Dask at an address, two workers, all data in an S3 server here"
RUNNERS = {
    "threads": "{kind: threads}",
    "two processes": "{kind: processes, workers: 2}",
    "a Dask cluster for each stage, one worker": "{kind: dask, workers: 1}",
    "a Dask cluster for each stage, two workers": "{kind: dask, workers: 2}",
}
LABELLED = 3_000
MODEL_SETTINGS = {
    "evaluation.baselines": "[]",
    "evaluation.label_error_folds": "null",
    "features.wheel_dir": ROOT / "data" / "backbone",
    "posters.allow_private_hosts": "[127.0.0.1]",
}


@dataclass(frozen=True)
class Place:
    """Where the commands of one turn run: the folder of all turns, the catalog, and the environment."""

    work: Path
    catalog: Path
    environment: dict[str, str]


@contextlib.contextmanager
def serve_posters(work: Path) -> Iterator[Path]:
    """Serves the real posters and yields the path of their catalog."""
    catalog = work / "MovieGenre.csv"
    command = [sys.executable, str(REAL_POSTERS / "serve.py"), "--port", "0", "--csv", str(catalog)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while not catalog.exists():
            time.sleep(0.1)
        time.sleep(1)
        yield catalog
        process.terminate()


def run(
    place: Path, turn: Place, runner: str | None, groups: Sequence[int] = (), *, root: Path = ROOT
) -> dict[str, float]:
    """Makes a run from nothing, and returns the seconds of stages and of the command, and the peaks of processes.

    Args:
        place: Folder for the data and the model.
        turn: Where the command runs.
        runner: Value of the setting `runner`; None: the version does not have it.
        groups: Process groups of a cluster at an address.
        root: Checkout of the version.
    """
    settings = {**MODEL_SETTINGS, "data_dir": place / "data", "artifacts_dir": place / "artifacts"}
    if runner:
        settings["runner"] = runner
    if groups:
        settings["store"] = f"s3://{place.name}/genres"
    command = [sys.executable, "-m", "flows.cli", "run", "--catalog", str(turn.catalog), "--recipe", "fast"]
    command += ["--min-posters", "400", *(f"--set={name}={value}" for name, value in settings.items())]
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=turn.work,
        env={**turn.environment, "PYTHONPATH": str(root)},
    )

    def list_named() -> Iterator[tuple[str, psutil.Process]]:
        for found in list_tree([process.pid, *groups]):
            yield "run" if found.pid == process.pid else "worker", found

    sampling = Sampling(list_named)
    sampling.start()
    rows = follow(process, [process.pid, *groups], collections.Counter())
    if process.wait():
        sys.exit(f"the run failed: {' '.join(command)}")
    seconds = time.perf_counter() - start
    sampling.stop()
    return {**{stage: rows[stage]["seconds"] for stage in STAGES}, "whole": seconds, **sampling.peaks}


def run_at_address(place: Path, turn: Place) -> dict[str, float]:
    """Makes a run on a cluster that has only a store, and returns what `run` does, and the requests to the store."""
    counts: collections.Counter[str] = collections.Counter()
    with contextlib.ExitStack() as stack:
        credentials = stack.enter_context(serve_store(counts, place.name))  # a bucket for each turn
        cluster = stack.enter_context(run_cluster(place, 2, **credentials))
        with_store = Place(turn.work, turn.catalog, turn.environment | credentials)
        figures = run(place, with_store, f'{{kind: dask, address: "{cluster.address}"}}', cluster.groups)
    return {**figures, **{method: counts[method] for method in ("GET", "PUT", "HEAD", "LIST")}}


def label(place: Path, turn: Place, model: Path, posters: Path, runner: str | None, *, root: Path = ROOT) -> float:
    """Labels a folder of posters, and returns the seconds of the command; for the arguments see `run`."""
    command = [sys.executable, "-m", "flows.cli", "label", str(posters), "--to", str(place), "--model", str(model)]
    start = time.perf_counter()
    subprocess.run(
        [*command, *([f"--set=runner={runner}"] if runner else [])],
        cwd=turn.work,
        env={**turn.environment, "PYTHONPATH": str(root)},
        check=True,
    )
    return time.perf_counter() - start


def summarise(values: Sequence[float]) -> str:
    """Returns the median, and the range if there are several values."""
    digits = ",.0f" if max(values) >= 20 else ".1f"
    middle = format(statistics.median(values), digits)
    return f"{middle} ({min(values):{digits}} to {max(values):{digits}})" if len(values) > 1 else middle


def render(runs: dict[str, list[dict[str, float]]], labels: dict[str, list[float]]) -> str:
    """Returns the tables, in Markdown."""
    columns = {"posters": "downloads, s", "dataset": "shards, s", "features": "features, s", "whole": "whole, s"}
    columns |= {"run": "peak of the run, GiB", "worker": "of another process, GiB"}
    lines = [f"| `runner` | {' | '.join(columns.values())} |", "|---" * (len(columns) + 1) + "|"]
    for name, turns in runs.items():
        cells = [summarise([turn[column] for turn in turns]) if column in turns[0] else "" for column in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    if BEFORE in runs:
        ratios = {
            column: [old[column] / new[column] for old, new in zip(runs[BEFORE], runs["threads"], strict=True)]
            for column in (*STAGES, "whole")
        }
        cells = [f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})" for found in ratios.values()]
        lines.append(f"| ratio of the two, over 1 where it is faster now | {' | '.join(cells)} | | |")
    requests = runs[AT_ADDRESS][-1]
    lines += ["", "Requests to the store: " + ", ".join(f"{requests[name]:,.0f} {name}" for name in ("GET", "PUT"))]
    lines += ["", f"| `label`, {LABELLED:,} posters | whole, s |", "|---|---|"]
    lines += [f"| {name} | {summarise(seconds)} |" for name, seconds in labels.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", type=Path, help="checkout of an earlier version")
    arguments = parser.parse_args()
    runs: dict[str, list[dict[str, float]]] = collections.defaultdict(list)
    labels: dict[str, list[float]] = collections.defaultdict(list)
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        catalog = stack.enter_context(serve_posters(work))
        served = stack.enter_context(run_server(work))
        turn = Place(work, catalog, {**script_environment(), **served.environment})
        posters = work / "labelled"
        posters.mkdir()
        for path in sorted((REAL_POSTERS / "posters").iterdir())[:LABELLED]:
            (posters / path.name).symlink_to(path)
        for number in range(arguments.rounds):

            def new_place(name: str, number: int = number) -> Path:
                place = work / f"turn-{number}-{name}".lower().replace(" ", "-").replace(",", "")
                place.mkdir()
                return place

            if arguments.before:
                place = new_place("before")
                runs[BEFORE].append(run(place, turn, None, root=arguments.before.resolve()))
            for name, runner in RUNNERS.items():
                place = new_place(name)
                runs[name].append(run(place, turn, runner))
                (model,) = (place / "artifacts" / "models").iterdir()
                if name == "threads" and arguments.before:
                    seconds = label(place / "before", turn, model, posters, None, root=arguments.before.resolve())
                    labels[BEFORE].append(seconds)
                if name != "a Dask cluster for each stage, one worker":
                    labels[name].append(label(place / "labels", turn, model, posters, runner))
            runs[AT_ADDRESS].append(run_at_address(new_place("at an address"), turn))
            written = {path.read_bytes() for path in work.glob(f"turn-{number}-*/labels/labels.csv")}
            assert len(written) == 1, "the labels differ"
            for place in work.glob(f"turn-{number}-*"):
                shutil.rmtree(place)
            print(render(runs, labels), flush=True)
    (HERE / "runners.md").write_text(render(runs, labels), "utf-8")


if __name__ == "__main__":
    main()
