"""Peak memory and seconds of the steps that hold tables of all films, at up to ten million: `make tables`.

Catalog and ledger are synthetic and the posters a few bytes, so that four million films are some 20 GB of disk, half of
it for shards. Each step runs in a process of its own, whose peak resident size is read when it ends.

    python tables.py [--folder FOLDER] [--steps STEP ...] [FILMS ...]
    python tables.py --step STEP FOLDER
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measuring import as_downloaded, read_peak, script_environment

import flows  # noqa: F401  (sets what Prefect and TensorFlow read when they are imported)
from tasks.catalog.genres import IMDB_GENRES
from tasks.catalog.reading import COLUMNS
from tasks.posters import ledger, segments

if TYPE_CHECKING:
    from tasks.dataset.task import Dataset

SIZES = (40_000, 400_000, 4_000_000)
NUM_CATALOG_ROWS = 10_000_000  # of a catalog that is read alone
POSTERS_PER_PART = 1000
ROWS_AT_ONCE = 100_000
FILMS_PER_SHARD = 1250
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
FIRST_ID = 1_000_000
WORDS = ("the", "of", "night", "love", "man", "last", "house", "king", "dark", "story", "girl", "city", "war", "lost")


def measure(sizes: Sequence[int], work: Path, steps: Sequence[str]) -> None:
    """Prints a row for each step and size. Of ten million rows, only those steps are made that need no data set."""
    print("| step | films | peak, GiB | seconds | load before |\n|---|---|---|---|---|", flush=True)
    for size in sizes:
        folder = work / str(size)
        folder.mkdir(exist_ok=True)
        for step in steps:
            if size >= NUM_CATALOG_ROWS and step not in ("catalog", *FEATURE_STEPS):
                continue
            if step in FEATURE_STEPS:
                _write_features(folder / "extracted", size)
            else:
                _write_catalog(folder / "MovieGenre.csv", size)
            if step not in ("catalog", *FEATURE_STEPS) and not (folder / "posters").exists():
                _write_ledger(folder / "posters", size)
            load = os.getloadavg()[0]
            command = [sys.executable, __file__, "--step", step, str(folder)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=script_environment())
            peak, seconds = done.stdout.split()[-2:]
            print(f"| {step} | {size:,} | {peak} | {seconds} | {load:.1f} |", flush=True)


def _write_catalog(path: Path, num_films: int) -> None:
    """Writes a catalog with rows of the published one's sizes, in a random order; one of a hundred is repeated."""
    if path.exists():
        return
    rng = np.random.default_rng(0)
    numbers = rng.permutation(num_films)
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(COLUMNS) + "\n")
        for start in range(0, num_films, ROWS_AT_ONCE):
            some = numbers[start : start + ROWS_AT_ONCE].tolist()
            lines = [_make_line(FIRST_ID + number) for number in some]
            file.writelines([*lines, *lines[::100]])


def _make_line(imdb_id: int) -> str:
    mixed = _mix(imdb_id)
    words = " ".join(WORDS[(mixed >> shift) % len(WORDS)] for shift in (59, 53, 47))
    # Some genres are much more frequent than others.
    genres = {IMDB_GENRES[int(27.99 * ((mixed >> shift) % 1024 / 1024) ** 2)] for shift in (4, 24, 34)}
    title, score = f"{words} {imdb_id} ({1920 + (mixed >> 20) % 100})", f"{1 + (mixed >> 12) % 90 / 10:.1f}"
    values = f"{imdb_id},http://www.imdb.com/title/tt{imdb_id},{title},{score},{'|'.join(sorted(genres))}"
    return f'{values},"{_make_address(imdb_id)}"\n'


def _mix(imdb_id: int) -> int:
    # A multiplicative hash: neighbours have other bits.
    return imdb_id * 0x9E3779B97F4A7C15 % 2**64


def _make_address(imdb_id: int) -> str:
    name = f"MV5B{_mix(imdb_id):016x}LTRhMy00ZTA5LWEzNDgtYmNmZTEwZTViZWJkXkEy@"
    return f"https://images-na.ssl-images-amazon.com/images/M/{name}._V1_UX182_CR0,0,182,268_AL_.jpg"


def _write_ledger(posters_dir: Path, num_films: int) -> None:
    """Writes the rows of all films, as downloads do: one of 50 failed, one of 50 shows the image of another film."""
    num_parts = ledger.choose_num_parts(posters_dir, num_films, POSTERS_PER_PART)
    ids = np.arange(FIRST_ID, FIRST_ID + num_films)
    parts = np.fromiter((ledger.assign_part(imdb_id, num_parts) for imdb_id in ids.tolist()), np.int32, num_films)
    by_part = ids[np.argsort(parts, kind="stable")]
    bounds = np.searchsorted(np.sort(parts), np.arange(num_parts + 1))
    for part in range(num_parts):
        rows = [_make_row(imdb_id) for imdb_id in by_part[bounds[part] : bounds[part + 1]].tolist()]
        pieces = [rows[start : start + segments.SEGMENT_ROWS] for start in range(0, len(rows), segments.SEGMENT_ROWS)]
        tables = [pa.Table.from_pylist(piece, schema=segments.LEDGER) for piece in pieces]
        segments.Part(posters_dir, part, num_parts).replace((), tables)


def _make_row(imdb_id: int) -> dict[str, object]:
    content = str(imdb_id - (imdb_id % 50 == 1)).encode()
    row = as_downloaded(imdb_id, _make_address(imdb_id), hashlib.sha256(content).hexdigest(), content)
    if imdb_id % 50 != 2:
        return row
    failed = {"status": segments.FAILED, "reason": "http 404", "http_status": 404, "fetched_at": datetime.now(UTC)}
    return (
        {**row, **failed, **dict.fromkeys(("sha256", "num_bytes", "format", "content"))} if imdb_id % 50 == 2 else row
    )


def _read_catalog(folder: Path) -> None:
    from tasks.catalog.task import read_catalog
    from tasks.settings import CatalogSettings

    read_catalog.fn(CatalogSettings(source=str(folder / "MovieGenre.csv"), max_bytes=10**10), folder / "catalog")


def _read_films(folder: Path) -> pa.Table:
    return pq.read_table(folder / "catalog" / "films.parquet", columns=["imdb_id", "poster_url"])


def _plan_downloads(folder: Path) -> None:
    from tasks.posters.task import plan_downloads
    from tasks.settings import PosterSettings

    with tempfile.TemporaryDirectory() as nothing:  # as for a first run
        assert plan_downloads(_read_films(folder), Path(nothing), PosterSettings())


def _count_posters(folder: Path) -> None:
    from tasks.posters.task import count_posters, plan_downloads
    from tasks.settings import PosterSettings

    films = _read_films(folder)
    assert not plan_downloads(films, folder / "posters", PosterSettings())
    assert count_posters(films, folder / "posters", {}).num_ok


def _write_dataset(folder: Path) -> None:
    from tasks.dataset.task import write_dataset
    from tasks.settings import DatasetSettings

    write_dataset.fn(
        catalog_path=folder / "catalog" / "films.parquet",
        posters_dir=folder / "posters",
        splits_dir=folder / "splits",
        folder=folder / "shards",
        settings=DatasetSettings(min_posters_per_genre=10, shard_bytes=30_000),
        seed=0,
    )


def _write_features(folder: Path, num_films: int) -> None:
    """Writes a data set without shards, and features of its images, eight of each, a file for each shard."""
    from tasks.features.cache import write_features

    if folder.exists():
        return
    folder.mkdir()
    rng = np.random.default_rng(0)
    schema = pa.schema([("imdb_id", pa.int64()), ("sha256", pa.string()), ("split", pa.string())])
    with pq.ParquetWriter(folder / "films.parquet", schema) as writer:
        for start in range(0, num_films, FILMS_PER_SHARD):
            ids = range(start, min(start + FILMS_PER_SHARD, num_films))
            hashes = [rng.bytes(32).hex() for _ in ids]
            splits = rng.choice(list(SHARES), len(ids), p=list(SHARES.values())).tolist()
            writer.write_table(pa.table([pa.array(ids), hashes, splits], schema=schema))
            write_features(folder / "features", hashes, np.ones((len(ids), 8), np.float32))


def _read_extracted(folder: Path) -> "Dataset":
    from tasks.dataset.shards import shard_name
    from tasks.dataset.task import Dataset

    num_films = int(folder.name)
    counts = {split: max(1, int(num_films * share / FILMS_PER_SHARD)) for split, share in SHARES.items()}
    names = [shard_name(split, index, count) for split, count in counts.items() for index in range(count)]
    return Dataset(folder / "extracted", [], {}, "fingerprint", tuple(names))


def _plan_all_features(folder: Path) -> None:
    from tasks.features.task import plan_extraction

    assert plan_extraction(_read_extracted(folder), folder / "none")


def _plan_no_features(folder: Path) -> None:
    from tasks.features.task import plan_extraction

    assert not plan_extraction(_read_extracted(folder), folder / "extracted" / "features")


def _join_features(folder: Path) -> None:
    from tasks.features.joining import join_features

    join_features(_read_extracted(folder), folder / "extracted" / "features")


FEATURE_STEPS: dict[str, Callable[[Path], None]] = {
    "plan of all features": _plan_all_features,
    "plan of none, first": _plan_no_features,
    "plan of none": _plan_no_features,
    "features joined with films": _join_features,
}
STEPS: dict[str, Callable[[Path], None]] = {
    "catalog": _read_catalog,
    "plan of all downloads": _plan_downloads,
    "plan of none, and count": _count_posters,
    "dataset": _write_dataset,
    "dataset, unchanged": _write_dataset,
    **FEATURE_STEPS,
}


def main() -> None:
    """Measures, or runs one step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=int, default=[*SIZES, NUM_CATALOG_ROWS])
    parser.add_argument("--folder", type=Path, help="existing folder for the inputs, which are kept and used again")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS), help="those that are measured")
    parser.add_argument("--step", nargs=2, metavar=("STEP", "FOLDER"))
    arguments = parser.parse_args()
    if arguments.step:
        name, folder = arguments.step
        start = time.perf_counter()
        STEPS[name](Path(folder))
        print(f"{read_peak():.2f} {time.perf_counter() - start:.1f}")
        return
    with tempfile.TemporaryDirectory() as work:
        measure(arguments.sizes, arguments.folder or Path(work), arguments.steps)


if __name__ == "__main__":
    main()
