"""Is sizes.md right? One run from nothing on a Dask cluster, its data in a store, over posters repeated under new ids.

Posters' server, store (moto) and cluster are on this machine, alone on which the run takes half an hour to two with
400,000 posters and 20 GB of disk. What each stage took is counted from outside: seconds, seconds of processors of run
and workers, requests and bytes at the store, peak memory of each process.

    python check_sizes.py [--posters 400000] [--workers 2] [--recipe fast] [--image-size 224] [--folder FOLDER]

A smaller image size is for a quicker run, in which all is checked but the hours of the features.
"""

import argparse
import collections
import contextlib
import csv
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
from counting import Row, Sampling, follow, list_tree, serve_store
from measuring import REAL_POSTERS, ROOT, script_environment

sys.path.insert(0, str(ROOT / "tests" / "support"))

import sizes
from dask_cluster import run_cluster
from served import run_server
from served_app import serve_app
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

MIN_POSTERS_SHARE = 400 / 7820  # of a genre: the 14 genres that the real posters have with 400


def write_catalog(path: Path, num_posters: int, base_url: str) -> None:
    """Writes the films of the real posters again and again, each time under new ids."""
    with (REAL_POSTERS / "MovieGenre.csv").open(encoding="latin-1", newline="") as file:
        header, *rows = csv.reader(file)
    ids = {path.stem for path in (REAL_POSTERS / "posters").iterdir()}
    films = list({row[0]: row for row in rows if row[0] in ids}.values())
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for number in range(num_posters):
            imdb_id, link, title, score, genres, _ = films[number % len(films)]
            url = f"{base_url}/posters/{number}/{imdb_id}.jpg"
            writer.writerow([number + 1, link, title, score, genres, url])


def make_poster_site(counts: collections.Counter[str]) -> Starlette:
    """Returns a site with `/posters/<number>/<id>.jpg`: a real poster, with the number after its end.

    No two are equal.
    """
    posters = {path.name: path.read_bytes() for path in (REAL_POSTERS / "posters").iterdir()}

    async def answer(request: Request) -> Response:
        counts["requests to hosts"] += 1
        body = posters[request.path_params["name"]] + request.path_params["number"].to_bytes(8, "big")
        return Response(body, media_type="image/jpeg")

    return Starlette(routes=[Route("/posters/{number:int}/{name}", answer)])


def measure(num_posters: int, num_workers: int, recipe: str, image_size: int, work: Path) -> None:
    """Makes the run and prints what it took, and what sizes.py says."""
    counts: collections.Counter[str] = collections.Counter()
    with contextlib.ExitStack() as stack:
        host = stack.enter_context(serve_app(make_poster_site(counts)))
        credentials = stack.enter_context(serve_store(counts, "posters"))
        write_catalog(work / "MovieGenre.csv", num_posters, f"http://{host}")
        served = stack.enter_context(run_server(work))
        (work / "workers").mkdir()
        cluster = stack.enter_context(run_cluster(work / "workers", num_workers, **credentials))
        settings = {
            "store": "s3://posters/genres",
            "data_dir": work / "data",
            "artifacts_dir": work / "artifacts",
            "runner": f'{{kind: dask, address: "{cluster.address}"}}',
            "posters.allow_private_hosts": "[127.0.0.1]",
            "features.wheel_dir": ROOT / "data" / "backbone",
            "features.image_size": f"[{image_size}, {image_size}]",
            "evaluation.baselines": "[]",
            "evaluation.label_error_folds": "null",
        }
        command = [sys.executable, "-m", "flows.cli", "run", "--catalog", str(work / "MovieGenre.csv")]
        command += ["--recipe", recipe, "--min-posters", str(int(num_posters * MIN_POSTERS_SHARE))]
        command += [f"--set={name}={value}" for name, value in settings.items()]
        environment = {**script_environment(), **served.environment, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=work, env=environment
        )
        stack.callback(process.wait)
        stack.callback(process.kill)

        def list_named() -> Iterator[tuple[str, psutil.Process]]:
            yield "the run", psutil.Process(process.pid)
            yield "servers of posters and store", psutil.Process()
            for group in cluster.groups:
                for number, found in enumerate(list_tree([group])):
                    yield f"process {number} of the cluster's group {cluster.groups.index(group)}", found

        sampling = Sampling(list_named)
        sampling.start()
        rows = follow(process, [process.pid, *cluster.groups], counts)
        sampling.stop()
    _print_stages(rows)
    if process.wait():
        sys.exit("the run failed")
    _print_beside_plan(rows, num_posters, recipe)
    for name, peak in sampling.peaks.items():
        print(f"peak of {name}: {peak:.2f} GiB")


def _print_stages(rows: dict[str, Row]) -> None:
    names = (
        "seconds",
        "processors",
        "servers",
        "PUT",
        "GET",
        "LIST",
        "HEAD",
        "POST",
        "DELETE",
        "bytes sent",
        "bytes read",
    )
    print("\n| stage | " + " | ".join(names) + " |\n|---" + "|---" * len(names) + "|")
    for stage, row in rows.items():
        print(f"| {stage} | " + " | ".join(f"{row[name]:,.0f}" for name in names) + " |")


def _print_beside_plan(rows: dict[str, Row], num_posters: int, recipe: str) -> None:
    plan = sizes.make_rows(num_posters)
    total = sum(rows.values(), collections.Counter())
    rest = sum(rows[stage]["seconds"] for stage in ("evaluation", "export", "registry", "tracking"))
    measured = {
        "requests to hosts": total["requests to hosts"],
        "posters, GB": rows["posters"]["bytes sent"] / 1e9,
        "shards, GB": rows["dataset"]["bytes sent"] / 1e9,
        f"features, GB, `{recipe}`": rows["features"]["bytes sent"] / 1e9,
        "downloads, core-hours": rows["posters"]["processors"] / 3600,
        "posters read for the shards, GB": rows["dataset"]["bytes read"] / 1e9,
        "shards, core-hours": rows["dataset"]["processors"] / 3600,
        f"features, core-hours, `{recipe}`": rows["features"]["processors"] / 3600,
        f"training, hours of one machine, `{recipe}`": rows["training"]["seconds"] / 3600,
        "evaluation, export and logs, hours of one machine": rest / 3600,
        "writes to the store (PUT)": total["PUT"],
        "reads from it (GET)": total["GET"],
    }
    print("\n| | sizes.md | measured |\n|---|---|---|")
    for name, value in measured.items():
        print(f"| {name} | {plan[name]} | {sizes.describe(value)} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posters", type=int, default=400_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        measure(arguments.posters, arguments.workers, arguments.recipe, arguments.image_size, Path(folder))
