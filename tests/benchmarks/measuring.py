"""Rates and ratios of ways that are measured in turns."""

import hashlib
import os
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.catalog.task import read_catalog
from tasks.dataset.task import Dataset, write_dataset
from tasks.posters import ledger, segments
from tasks.recipes import RECIPES
from tasks.settings import CatalogSettings, DatasetSettings, FeatureSettings

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
REAL_POSTERS = Path(os.environ.get("POSTER_GENRES_REAL_POSTERS", ROOT.parent / "shared" / "real_posters"))
ROUNDS = 3
EPOCHS = 30
# The features of the recipe `fast`, which the benchmarks measure.
FAST_FEATURES = FeatureSettings(wheel_dir=ROOT / "data" / "backbone", **RECIPES["fast"]["features"])

Results = dict[str, Any]


def take_turns(ways: Mapping[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Calls each way once a round, in turns, and returns what each returned."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
            print(f"    {name}: {found[name][-1]:,.1f}", flush=True)
    return found


def compare(unit: str, found: Mapping[str, list[float]]) -> Results:
    """Returns medians, and of the first way the ratio to each other one: median of the rounds, and the worst."""
    first, *others = found
    ratios = {name: [ours / theirs for ours, theirs in zip(found[first], found[name], strict=True)] for name in others}
    return {
        "unit": unit,
        "medians": {name: statistics.median(values) for name, values in found.items()},
        "rounds": dict(found),
        "ratios": {name: {"median": statistics.median(of), "worst": min(of)} for name, of in ratios.items()},
    }


def rate(count: int, run: Callable[[], object]) -> float:
    """Returns how many of `count` a second a call does."""
    start = time.perf_counter()
    run()
    return count / (time.perf_counter() - start)


def script_environment() -> dict[str, str]:
    """Returns the environment of a script that imports its neighbours: without the PYTHONSAFEPATH that `flows` sets."""
    return {**os.environ, "PYTHONSAFEPATH": ""}


def read_peak() -> float:
    """Returns the peak resident size of this process, in GiB."""
    # Not ru_maxrss, in which a process inherits the peak of the one that started it.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 2**20


def as_downloaded(imdb_id: int, url: str, sha256: str, content: bytes) -> dict[str, Any]:
    """Returns the ledger's row of a poster."""
    return {
        "imdb_id": imdb_id,
        "url": url,
        "status": segments.OK,
        "attempts": 1,
        "sha256": sha256,
        "num_bytes": len(content),
        "format": "jpeg",
        "seconds": 0.0,
        "fetched_at": datetime(2026, 1, 1, tzinfo=UTC),
        "content": content,
    }


def split_real_posters(work: Path) -> Dataset:
    """Writes the data set of the real posters with seed 0 below `work`, as a run does."""
    return write_dataset.fn(
        catalog_path=put_real_posters(work),
        posters_dir=work / "posters",
        splits_dir=work / "splits",
        folder=work / "shards",
        settings=DatasetSettings(min_posters_per_genre=400),
        seed=0,
    )


def put_real_posters(work: Path) -> Path:
    """Puts the real posters into `work/posters`, as if they had been downloaded, and returns the films' path."""
    catalog = read_catalog.fn(CatalogSettings(source=str(REAL_POSTERS / "MovieGenre.csv")), work / "catalog")
    segments.write_num_parts(work / "posters", 8)
    rows: dict[int, list[dict[str, Any]]] = {part: [] for part in range(8)}
    for path in (REAL_POSTERS / "posters").iterdir():
        imdb_id, content = int(path.stem), path.read_bytes()
        row = as_downloaded(imdb_id, path.name, hashlib.sha256(content).hexdigest(), content)
        rows[ledger.assign_part(imdb_id, len(rows))].append(row)
    for part, of_part in rows.items():
        segments.Part(work / "posters", part, 8).append(of_part)
    return catalog.films_path
