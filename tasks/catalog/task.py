"""The task of the catalog stage."""

import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.atomic import atomic_file, write_text
from tasks.catalog.cleaning import FILMS, clean
from tasks.catalog.corrections import Correction, read_corrections
from tasks.catalog.reading import Rows, read_rows
from tasks.errors import CatalogError, SettingsError
from tasks.parquet import write_tables
from tasks.settings import CatalogSettings

logger = logging.getLogger(__name__)

_NUM_EXAMPLES = 10  # of ids in a warning


@dataclass(frozen=True)
class Catalog:
    """The films of a catalog.

    Attributes:
        num_rows: Number of rows of the file: `num_films` and those in `dropped`.
        films_path: Path of the table of films, schema `tasks.catalog.cleaning.FILMS`.
        num_films: Number of films in the table.
        dropped: Number of rows dropped, by reason.
        doubts: Doubtful values, as in `tasks.catalog.cleaning.CleanedRows`.
        sha256: Hash of MovieGenre.csv as it was read, hexadecimal.
        corrections: Number of films by what became of their correction, as in `tasks.catalog.corrections.Correction`;
            empty without corrections.
        corrections_sha256: Hash of the corrections as they were read; None: there are none.
    """

    num_rows: int
    films_path: Path
    num_films: int
    dropped: dict[str, int]
    doubts: dict[str, Any]
    sha256: str
    corrections: dict[str, int]
    corrections_sha256: str | None

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

    def count(self) -> dict[str, dict[str, int]]:
        """Returns the numbers of `dropped` rows, `doubtful` films, and if there are any `corrections`, each by kind."""
        counts = {"dropped": self.dropped, "doubtful": self.count_doubts()}
        return {**counts, "corrections": self.corrections} if self.corrections else counts


@task(name="read catalog", cache_policy=NO_CACHE, timeout_seconds=600)
def read_catalog(settings: CatalogSettings, catalog_dir: Path, private_hosts: Collection[str] = ()) -> Catalog:
    """Reads, types and cleans MovieGenre.csv into `films.parquet` (schema `tasks.catalog.cleaning.FILMS`).

    Args:
        settings: Settings of the stage.
        catalog_dir: Folder for the table and the counts of rows, films, dropped and doubtful rows.
        private_hosts: Hosts that may have private addresses, `posters.allow_private_hosts`.

    Raises:
        CatalogError: If the file or its corrections can't be read, or it has no usable row.
        SettingsError: An excluded genre is unknown, and similar to a known one.
    """
    rows = read_rows(settings.source, private_hosts=private_hosts, max_bytes=settings.max_bytes)
    iterate_tables, corrections_sha256, correction = rows.iterate_tables, None, None
    if settings.corrections:
        read = read_corrections(settings.corrections, private_hosts, settings.max_bytes)
        correction, corrections_sha256 = Correction(read), read.sha256
        iterate_tables = partial(_correct, rows, correction)
    cleaned = clean(iterate_tables, settings.excluded_genres)
    corrections = _count_corrections(correction) if correction else {}
    dropped = {"wrong number of fields": rows.num_malformed, **cleaned.dropped}
    _check_excluded_genres(cleaned.unknown_excluded)
    num_films = cleaned.num_films
    counts = f"{rows.number:,} rows = {num_films:,} films + {sum(dropped.values()):,} dropped"
    if num_films + sum(dropped.values()) != rows.number:
        raise RuntimeError(f"the rows of {settings.source} don't add up: {counts}, {dropped}: this is a bug")
    if not num_films:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in dropped.items() if count)
        raise CatalogError(
            f"no row of {settings.source} is usable; dropped: {reasons or 'none, the file has no rows'}; expected "
            "films with a genre and the http(s) address of a poster"
        )
    films_path = catalog_dir / "films.parquet"
    with atomic_file(films_path) as partial_path:
        write_tables(cleaned.iterate_films(), FILMS, partial_path)
    hashes = {"sha256": rows.sha256, "corrections_sha256": corrections_sha256}
    accounts = {**hashes, "rows": rows.number, "films": num_films, "dropped": dropped, "corrections": corrections}
    write_text(catalog_dir / "dropped.json", json.dumps(accounts, indent=2) + "\n")
    write_text(catalog_dir / "doubts.json", json.dumps(cleaned.doubts, indent=2, ensure_ascii=False) + "\n")
    logger.info("catalog: %s: %s", counts, dropped)
    if rows.num_malformed:
        lines = _list_some(rows.malformed_lines, rows.num_malformed)
        logger.warning("catalog: %d rows have a wrong number of fields: row %s", rows.num_malformed, lines)
    catalog = Catalog(
        num_rows=rows.number,
        films_path=films_path,
        num_films=num_films,
        dropped=dropped,
        doubts=cleaned.doubts,
        sha256=rows.sha256,
        corrections=corrections,
        corrections_sha256=corrections_sha256,
    )
    if doubtful := catalog.count_doubts():
        logger.warning("catalog: doubtful genres: %s", doubtful)
    return catalog


def _correct(rows: Rows, correction: Correction) -> Iterator[pa.Table]:
    return map(correction.apply, rows.iterate_tables())


def _count_corrections(correction: Correction) -> dict[str, int]:
    counts, missing_ids = correction.count()
    logger.info("catalog: corrections: %s", counts)
    if missing_ids:
        some = _list_some(missing_ids[:_NUM_EXAMPLES], len(missing_ids))
        logger.warning("catalog: corrections of films that the catalog does not have: imdbId %s", some)
    return counts


def _list_some(examples: Sequence[int], number: int) -> str:
    """Returns the first of some numbers, and dots if there are more."""
    return ", ".join(map(str, examples)) + ", ..." * (number > len(examples))


def _check_excluded_genres(unknown: Mapping[str, str | None]) -> None:
    """Refuses genres that are misspelt, which would exclude nothing; warns of others that are unknown."""
    for genre, similar in unknown.items():
        if similar:
            raise SettingsError(
                f"catalog.excluded_genres has {genre!r}, a genre that neither IMDB nor the catalog has: "
                f"did you mean {similar!r}?"
            )
        logger.warning("catalog: excluded_genres has %r, a genre that neither IMDB nor the catalog has", genre)
