"""The table of the data set's films: catalog and posters joined, and `films.parquet`."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.posters import ledger, segments

FILMS_FILE = "films.parquet"

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
    """
    films = pq.read_table(catalog_path, columns=["imdb_id", "title", "year", "score", "genres"]).to_pandas()
    posters = ledger.read_ledger(posters_dir).select(["imdb_id", "status", "sha256", "num_bytes", "format"]).to_pandas()
    posters = posters[posters["status"] == segments.OK].drop(columns="status")
    joined: pd.DataFrame = posters.merge(films, on="imdb_id")
    joined["year"] = joined["year"].fillna(0).astype(int)
    joined["score"] = joined["score"].fillna(0)
    return joined


def make_table(films: pd.DataFrame) -> pa.Table:
    """Returns the content of `films.parquet`: the columns of `FILMS_SCHEMA`."""
    return pa.table({name: films[name].tolist() for name in FILMS_SCHEMA.names}, schema=FILMS_SCHEMA)


def write_films(films: pd.DataFrame, path: Path) -> None:
    """Writes `films.parquet`."""
    pq.write_table(make_table(films), path)
