"""The stages that take seconds, at a million films; and what a command costs before it works."""

import csv
import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from measuring import REAL_POSTERS, ROUNDS, Results, compare, rate, take_turns

from tasks.catalog.task import read_catalog
from tasks.dataset.genres import choose_genres, count_genres, encode_genres
from tasks.dataset.records import write_records
from tasks.dataset.splits import split_films
from tasks.settings import CatalogSettings, DatasetSettings

NUM_ROWS = 1_000_000
NUM_RECORDS = 20_000


def measure(work: Path) -> Results:
    """Catalog, split and shards; and the start of the command line."""
    big, thousands = _write_catalog(work / "big.csv"), NUM_ROWS // 1000
    results: Results = {
        f"catalog, {NUM_ROWS:,} rows": compare(
            "thousand rows/s",
            take_turns(
                {
                    "read, typed and cleaned": lambda: rate(thousands, lambda: read_catalog.fn(big, work / "catalog")),
                    "pandas.read_csv, read only": lambda: rate(thousands, lambda: pd.read_csv(big.source, dtype=str)),
                }
            ),
        )
    }
    genres = pq.read_table(work / "catalog" / "films.parquet", columns=["genres"])["genres"].to_pylist()
    targets = encode_genres(genres, choose_genres(count_genres(genres), 1000))
    hashes = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(len(genres))]
    films = pd.DataFrame({"imdb_id": np.arange(len(genres)), "sha256": hashes})
    known = pd.DataFrame(columns=["imdb_id", "sha256", "split"])
    seconds = _time(lambda: split_films(films, targets, known, settings=DatasetSettings(), seed=0))
    results[f"split of {len(genres):,} films"] = compare("s", {"stratified": [seconds]})
    results["shards"] = compare("MB/s", take_turns(_pair_shards(work)))
    command = [sys.executable, "-m", "flows.cli", "--help"]
    starts = [_time(lambda: subprocess.run(command, capture_output=True, check=True)) for _ in range(ROUNDS + 2)]
    results["poster-genres --help"] = compare("s", {"start to end": starts})
    return results


def _write_catalog(path: Path) -> CatalogSettings:
    """Repeats the real catalog under new ids."""
    with (REAL_POSTERS / "MovieGenre.csv").open(encoding="iso-8859-1", newline="") as file:
        header, *rows = csv.reader(file)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(header)
        table.writerows([str(NUM_ROWS + number), *rows[number % len(rows)][1:]] for number in range(NUM_ROWS))
    return CatalogSettings(source=str(path))


def _pair_shards(work: Path):
    posters = [path.read_bytes() for path in sorted((REAL_POSTERS / "posters").iterdir())]
    folder, copy = work / "shards", work / "copy"
    film = {"title": "Toy Story (1995)", "year": 1995, "score": 8.3, "format": "jpeg", "genres": ["Comedy"]}
    films = [
        {
            **film,
            "targets": [0, 1] * 7,
            "imdb_id": number,
            "sha256": "0" * 64,
            "content": posters[number % len(posters)],
            "shard": "a",
        }
        for number in range(NUM_RECORDS)
    ]

    def megabytes() -> float:
        return (folder / "a").stat().st_size / 1e6

    def ours() -> float:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        seconds = _time(lambda: (write_records(folder, films, ["a"]), subprocess.run(["sync"], check=True)))
        return megabytes() / seconds

    def theirs() -> float:
        copy.unlink(missing_ok=True)
        command = f"cp {folder / 'a'} {copy} && sync"
        return megabytes() / _time(lambda: subprocess.run(command, shell=True, check=True))

    return {"TFRecord shards written": ours, "cp of the same bytes": theirs}


def _time(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
