"""Peak memory of the data set's tables, in bytes a film: `python films_memory.py FOLDER NUM_FILMS`, on Linux."""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.catalog.cleaning import FILMS
from tasks.dataset import films as dataset_films
from tasks.dataset.description import describe_dataset
from tasks.dataset.films import join_films
from tasks.dataset.known_splits import write_known_splits
from tasks.dataset.lists import map_categories
from tasks.dataset.shards import assign_shards, fingerprint_films
from tasks.dataset.splits import SPLITS
from tasks.posters import segments
from tasks.settings import DatasetSettings


def write_inputs(folder: Path, num_films: int) -> None:
    """Writes a catalog and a ledger of posters without content."""
    ids = np.arange(num_films)
    titles = pa.array([f"The Film of the Number {number} (1999)" for number in ids])
    genres = pa.array([["Comedy"], ["Comedy", "Drama"], ["Drama", "Horror", "War"]]).take(pa.array(ids % 3))
    films = {"imdb_id": ids, "title": titles, "year": pa.nulls(num_films), "score": np.full(num_films, 6.5)}
    films |= {"genres": genres, "poster_url": titles}
    pq.write_table(
        pa.table({name: pa.array(films[name]) for name in FILMS.names}).cast(FILMS), folder / "films.parquet"
    )
    rows = {name: pa.nulls(num_films, segments.LEDGER.field(name).type) for name in segments.LEDGER.names}
    same = {"url": "", "status": segments.OK, "attempts": 1, "num_bytes": 20_000, "format": "jpeg", "seconds": 0.1}
    rows |= {name: pa.repeat(value, num_films) for name, value in {**same, "fetched_at": 0}.items()}
    rows |= {"imdb_id": ids, "sha256": [f"{number * 0x9E3779B97F4A7C15 % 2**64:064x}" for number in ids.tolist()]}
    table = pa.table({name: pa.array(rows[name]) for name in segments.LEDGER.names}).cast(segments.LEDGER)
    segments.write_num_parts(folder / "posters", 1)
    segments.Part(folder / "posters", 0, 1).replace((), [table])


def read_status(name: str) -> int:
    """Returns a size of this process, in bytes."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[name].split()[0]) * 1024


def write_tables(folder: Path) -> None:
    """Writes what the stage writes but for shards and splits, whose time is that of other packages."""
    films = join_films(folder / "films.parquet", folder / "posters")
    films["targets"] = map_categories(films["genres"], lambda names: [int("Drama" in names), int("War" in names)])
    films = films.assign(split=np.array(SPLITS)[np.arange(len(films)) % len(SPLITS)])
    shards = assign_shards(films, 100_000_000)
    describe_dataset(
        films,
        genres=["Drama", "War"],
        genre_counts={},
        num_films_without_label=0,
        shard_fingerprints={name: fingerprint_films(films.iloc[rows], []) for name, rows in shards.items()},
        settings=DatasetSettings(),
        seed=0,
    )
    dataset_films.write_films(films, folder / "written.parquet")
    write_known_splits(folder / "splits.parquet", films, films.iloc[:0])


def main() -> None:
    """Prints how many bytes more the peak is for each film more."""
    folder, num_films = Path(sys.argv[1]), int(sys.argv[2])
    peaks = []
    for number in (num_films // 10, num_films):  # what all films share is in both
        (folder / str(number)).mkdir()
        write_inputs(folder / str(number), number)
        pa.default_memory_pool().release_unused()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = read_status("VmRSS")
        write_tables(folder / str(number))
        peaks.append(read_status("VmHWM") - before)
    print((peaks[1] - peaks[0]) / (num_films - num_films // 10))


if __name__ == "__main__":
    main()
