"""The table of the data set's films: catalog and posters joined, and `films.parquet`."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.dataset.lists import as_arrow, as_categories
from tasks.parquet import write_tables
from tasks.posters import ledger, segments

FILMS_FILE = "films.parquet"

_ROWS_AT_ONCE = 10_000

# A row for each film of the data set.
FILMS_SCHEMA = pa.schema(
    [
        pa.field("imdb_id", pa.int64(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("year", pa.int16(), nullable=False),  # 0 where the title has none
        pa.field("score", pa.float32(), nullable=False),  # IMDB's, from 1 to 10; 0 where there is none
        pa.field("sha256", pa.string(), nullable=False),  # of the image
        pa.field("split", pa.string(), nullable=False),
        pa.field("targets", pa.list_(pa.uint8()), nullable=False),  # 0 or 1 for each genre of the data set
    ]
)


def join_films(catalog_path: Path, posters_dir: Path) -> pd.DataFrame:
    """Returns the films whose poster was downloaded, in the order of the poster parts and of the ids in each part.

    Args:
        catalog_path: Path of the catalog's `films.parquet`.
        posters_dir: Folder of the poster parts.

    Returns:
        Columns `imdb_id`, `title`, `year`, `score`, `genres`, and of the image `sha256`, `num_bytes` and `format`.
        `genres` is categorical, as `as_categories` makes it.
    """
    columns = ["imdb_id", "status", "sha256", "num_bytes", "format"]
    posters = ledger.read_ledger(posters_dir, columns).filter(pc.field("status") == segments.OK).drop_columns("status")
    films = pq.read_table(catalog_path, columns=["imdb_id", "title", "year", "score", "genres"])
    rows = pc.index_in(posters["imdb_id"], films["imdb_id"])
    posters, rows = posters.filter(rows.is_valid()), rows.drop_null()
    # A column at a time, so that each is in memory twice alone.
    joined: pd.DataFrame = posters.select(["imdb_id", "sha256", "num_bytes"]).to_pandas(self_destruct=True)
    joined["format"] = posters["format"].dictionary_encode().to_pandas()
    joined["title"] = films["title"].take(rows).to_pandas()
    joined["year"] = pc.fill_null(films["year"], 0).take(rows).to_pandas()
    joined["score"] = pc.fill_null(films["score"], 0).take(rows).to_pandas()
    joined["genres"] = as_categories(films["genres"]).take(rows.to_numpy())
    return joined


def make_table(films: pd.DataFrame) -> pa.Table:
    """Returns the content of `films.parquet`: the columns of `FILMS_SCHEMA`."""
    columns = {field.name: as_arrow(films[field.name], field.type) for field in FILMS_SCHEMA}
    return pa.table(columns, schema=FILMS_SCHEMA)


def write_films(films: pd.DataFrame, path: Path) -> None:
    """Writes `films.parquet`."""
    starts = range(0, len(films), _ROWS_AT_ONCE)
    write_tables((make_table(films.iloc[start : start + _ROWS_AT_ONCE]) for start in starts), FILMS_SCHEMA, path)
