"""The task of the catalog stage."""

import json
import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
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
    """The films of a catalog.

    Attributes:
        films_path: Path of the table of films, schema `tasks.catalog.cleaning.FILMS`.
        num_films: Number of films in the table.
        dropped: Number of rows dropped, by reason.
        doubts: Doubtful values, as in `tasks.catalog.cleaning.CleanedRows`.
    """

    films_path: Path
    num_films: int
    dropped: dict[str, int]
    doubts: dict[str, Any]

    def read_addresses(self) -> pa.Table:
        """Returns the columns `imdb_id` and `poster_url` of the films."""
        return pq.read_table(self.films_path, columns=["imdb_id", "poster_url"])

    def count_doubts(self) -> dict[str, int]:
        """Returns the number of films with each doubtful value, by description; only numbers over 0."""
        counts = {name: number for name, number in self.doubts.items() if isinstance(number, int)}
        counts["rows that disagree"] = self.doubts["rows that disagree"]["films"]
        for name in ("spellings read as another", "genres unknown to IMDB"):
            counts |= {f"{name}: {genre}": number for genre, number in self.doubts[name].items()}
        return {name: number for name, number in counts.items() if number}


@task(name="read catalog", cache_policy=NO_CACHE, timeout_seconds=600)
def read_catalog(settings: CatalogSettings, catalog_dir: Path, private_hosts: Collection[str] = ()) -> Catalog:
    """Reads, types and cleans MovieGenre.csv into `films.parquet` (schema `tasks.catalog.cleaning.FILMS`).

    Args:
        settings: Settings of the stage.
        catalog_dir: Folder for the table and the counts of dropped and doubtful rows.
        private_hosts: Hosts that may have private addresses, `posters.allow_private_hosts`.

    Raises:
        CatalogError: If the file can't be read, or has no usable row.
    """
    rows, malformed = read_rows(settings.source, private_hosts=private_hosts)
    cleaned = clean(rows, settings.excluded_genres)
    dropped = {"wrong number of fields": malformed, **cleaned.dropped}
    num_films = cleaned.films.num_rows
    if not num_films:
        counts = ", ".join(f"{reason}: {count}" for reason, count in dropped.items() if count)
        raise CatalogError(f"no row of {settings.source} is usable; dropped: {counts or 'none, the file has no rows'}")
    films_path = catalog_dir / "films.parquet"
    with atomic_file(films_path) as partial:
        pq.write_table(cleaned.films, partial)
    write_text(catalog_dir / "dropped.json", json.dumps(dropped, indent=2) + "\n")
    write_text(catalog_dir / "doubts.json", json.dumps(cleaned.doubts, indent=2, ensure_ascii=False) + "\n")
    logger.info("catalog: %d films, %d rows dropped: %s", num_films, sum(dropped.values()), dropped)
    catalog = Catalog(films_path=films_path, num_films=num_films, dropped=dropped, doubts=cleaned.doubts)
    if doubtful := catalog.count_doubts():
        logger.warning("catalog: doubtful genres: %s", doubtful)
    return catalog
