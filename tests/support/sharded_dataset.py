"""A catalog of films of two genres and their posters, of which a data set of several shards is written."""

import pyarrow as pa
import pyarrow.parquet as pq
from ledger_rows import make_row, write_ledger

from tasks.catalog.cleaning import FILMS
from tasks.dataset.task import Dataset, ShardWriter, write_dataset
from tasks.settings import DatasetSettings, Settings

NUM_FILMS = 120
DATASET_SETTINGS = DatasetSettings(min_posters_per_genre=20, shard_bytes=20_000)


def write_catalog_and_posters(settings: Settings) -> None:
    """Writes the films and the ledger of their posters, whose bytes are no images."""
    films = [
        {"imdb_id": number, "title": f"T{number}", "year": 1990, "score": 6.5, "poster_url": "u"}
        | {"genres": [["Drama"], ["Comedy"]][number % 2]}
        for number in range(NUM_FILMS)
    ]
    folder = settings.workspace.folder("catalog")
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(films, schema=FILMS), folder / "films.parquet")
    rows = [make_row(number, f"poster {number}".encode() * 50, "u", format="jpeg") for number in range(NUM_FILMS)]
    write_ledger(settings.workspace.folder("posters"), rows, num_parts=4)


def write(settings: Settings, write_shards: ShardWriter | None = None) -> Dataset:
    """Writes the data set, outside of a flow."""
    workspace = settings.workspace
    return write_dataset.fn(
        catalog_path=workspace.folder("catalog") / "films.parquet",
        posters_dir=workspace.folder("posters"),
        splits_dir=workspace.folder("splits"),
        folder=workspace.folder("shards"),
        settings=settings.dataset,
        seed=0,
        write_shards=write_shards,
    )
