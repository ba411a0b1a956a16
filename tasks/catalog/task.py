"""The catalog stage."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.atomic import atomic_file, write_text
from tasks.catalog.cleaning import clean
from tasks.catalog.reading import read_rows
from tasks.errors import CatalogError
from tasks.settings import CatalogSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Catalog:
    """The films of a catalog: where their table is, how many there are, and how many rows were dropped and why."""

    films_path: Path
    num_films: int
    dropped: dict[str, int]


@task(name="read catalog", cache_policy=NO_CACHE, timeout_seconds=600)
def read_catalog(settings: CatalogSettings, catalog_dir: Path) -> Catalog:
    """Reads, types and cleans MovieGenre.csv into `films.parquet` (schema `tasks.catalog.cleaning.FILMS`).

    Raises:
        CatalogError: if it can't be read, or no row of it can be used.
    """
    rows, malformed = read_rows(settings.source)
    films, dropped = clean(rows, settings.excluded_genres)
    dropped = {"wrong number of fields": malformed, **dropped}
    if not films.num_rows:
        counts = ", ".join(f"{reason}: {count}" for reason, count in dropped.items() if count)
        raise CatalogError(
            f"no film of {settings.source} can be used: rows dropped for {counts or 'none: it has none'}"
        )
    films_path = catalog_dir / "films.parquet"
    with atomic_file(films_path) as partial:
        pq.write_table(films, partial)
    write_text(catalog_dir / "dropped.json", json.dumps(dropped, indent=2) + "\n")
    logger.info("catalog: %d films, %d rows dropped: %s", films.num_rows, sum(dropped.values()), dropped)
    return Catalog(films_path, films.num_rows, dropped)
