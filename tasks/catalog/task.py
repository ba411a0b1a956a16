"""The catalog stage."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
        films_path: their table.
        num_films: in it.
        dropped: how many rows were left out, by reason.
        doubts: what is doubtful about the genres, as `tasks.catalog.cleaning.clean` gives it.
    """

    films_path: Path
    num_films: int
    dropped: dict[str, int]
    doubts: dict[str, Any]

    def count_doubts(self) -> dict[str, int]:
        """Returns the doubts that there are in words, with how many films each is about."""
        counts = {name: number for name, number in self.doubts.items() if isinstance(number, int)}
        counts["rows that disagree"] = self.doubts["rows that disagree"]["films"]
        for name in ("spellings read as another", "genres unknown to IMDB"):
            counts |= {f"{name}: {genre}": number for genre, number in self.doubts[name].items()}
        return {name: number for name, number in counts.items() if number}


@task(name="read catalog", cache_policy=NO_CACHE, timeout_seconds=600)
def read_catalog(settings: CatalogSettings, catalog_dir: Path) -> Catalog:
    """Reads, types and cleans MovieGenre.csv into `films.parquet` (schema `tasks.catalog.cleaning.FILMS`).

    Raises:
        CatalogError: if it can't be read, or no row of it can be used.
    """
    rows, malformed = read_rows(settings.source)
    films, dropped, doubts = clean(rows, settings.excluded_genres)
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
    write_text(catalog_dir / "doubts.json", json.dumps(doubts, indent=2, ensure_ascii=False) + "\n")
    logger.info("catalog: %d films, %d rows dropped: %s", films.num_rows, sum(dropped.values()), dropped)
    catalog = Catalog(films_path, films.num_rows, dropped, doubts)
    if doubtful := catalog.count_doubts():
        logger.warning("catalog: doubtful genres: %s", doubtful)
    return catalog
