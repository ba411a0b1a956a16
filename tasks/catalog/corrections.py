"""Corrections of a catalog's genres: a CSV beside it, in which a person names the genres of single films."""

import re
from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from tasks.catalog.cleaning import ID_PATTERN
from tasks.catalog.genres import find_unknown_genres, split_genres, unify_spellings
from tasks.catalog.reading import read_rows
from tasks.errors import CatalogError

COLUMNS = ("imdbId", "genres")


@dataclass(frozen=True)
class Corrections:
    """Genres that replace those of the catalog.

    Attributes:
        genres: Genres by imdbId, as a text that is separated by `|`.
        sha256: Hash of the file, hexadecimal.
    """

    genres: dict[int, str]
    sha256: str


class Correction:
    """Corrections applied to the rows of a catalog, a table at a time.

    Args:
        corrections: The corrections.
    """

    def __init__(self, corrections: Corrections) -> None:
        self._corrections = corrections
        self._ids = pa.array(corrections.genres, pa.int64())
        self._replacements = pa.array(corrections.genres.values(), pa.string())
        # Of all tables, without order: texts of genres, and the texts that were replaced with their films.
        self._texts: dict[str, None] = {}
        self._replaced: set[tuple[int, str]] = set()

    def apply(self, rows: pa.Table) -> pa.Table:
        """Replaces the genres of the corrected films, in all rows of each.

        Args:
            rows: String columns `tasks.catalog.reading.COLUMNS`.
        """
        genres = rows["Genre"].combine_chunks()
        self._texts |= dict.fromkeys(genres.unique().to_pylist())
        texts = pc.utf8_trim_whitespace(rows["imdbId"].combine_chunks())
        # A row without an id has no correction; it is dropped later.
        is_id = pc.match_substring_regex(texts, ID_PATTERN)
        imdb_ids = pc.if_else(is_id, texts, pa.scalar(None, pa.string())).cast(pa.int64())
        replacements = self._replacements.take(pc.index_in(imdb_ids, value_set=self._ids, skip_nulls=True))
        replaced = pa.table({"imdb_id": imdb_ids, "before": genres}).filter(replacements.is_valid())
        self._replaced |= set(zip(*(column.to_pylist() for column in replaced.columns), strict=True))
        column = rows.schema.get_field_index("Genre")
        return rows.set_column(column, "Genre", pc.coalesce(replacements, genres))

    def count(self) -> tuple[dict[str, int], list[int]]:
        """Returns what became of the corrections, once all rows were corrected.

        Returns:
            The number of films by what became of their correction: `films changed`, `genres as before`, which can be
            removed from the file, and `not in the catalog`; and the ids that the catalog lacks, ascending.

        Raises:
            CatalogError: They have a genre that neither IMDB nor the catalog has in any spelling.
        """
        corrections = self._corrections
        known = [name for text in self._texts for name in split_genres(text)]
        _check_genres(corrections, known)
        canonical_names = unify_spellings(dict.fromkeys([*known, *_list_genres(corrections)], 0))
        changed: set[int] = set()
        unchanged: set[int] = set()
        for imdb_id, text in self._replaced:
            before, after = (
                {canonical_names[name] for name in split_genres(genres)}
                for genres in (text, corrections.genres[imdb_id])
            )
            (unchanged if before == after else changed).add(imdb_id)
        missing_ids = sorted(corrections.genres.keys() - changed - unchanged)
        counts = {
            "films changed": len(changed),
            "genres as before": len(unchanged - changed),
            "not in the catalog": len(missing_ids),
        }
        return counts, missing_ids


def read_corrections(source: str, private_hosts: Collection[str], max_bytes: int) -> Corrections:
    """Reads a CSV with the columns `imdbId` and `genres`; others, such as `note`, are for people.

    Of several rows of a film the last one counts: later corrections are added at the end.

    Args:
        source: Path or address of the file, as that of a catalog.
        private_hosts: Hosts that may have private addresses.
        max_bytes: Maximum size of the file.

    Raises:
        CatalogError: The file can't be read, or a row of it has no id or no genres.
    """
    try:
        rows = read_rows(source, COLUMNS, private_hosts=private_hosts, max_bytes=max_bytes)
    except CatalogError as error:
        raise CatalogError(f"catalog.corrections: {error}") from error
    if rows.num_malformed:
        raise _error(
            f"row {rows.malformed_lines[0]} has another number of fields than the header", "texts with commas in quotes"
        )
    corrections: dict[int, str] = {}
    for text, genres in zip(*(rows.table[name].to_pylist() for name in COLUMNS), strict=True):
        if not re.match(ID_PATTERN, text.strip()):
            raise _error(f"the imdbId {text[:40]!r}", "digits")
        imdb_id = int(text)
        if not split_genres(genres):
            raise _error(f"film {imdb_id} has no genres", "some, separated by |")
        corrections[imdb_id] = genres
    return Corrections(corrections, rows.sha256)


def _error(problem: str, expected: str) -> CatalogError:
    return CatalogError(f"catalog.corrections: {problem}; expected {expected}")


def _check_genres(corrections: Corrections, catalog_genres: Collection[str]) -> None:
    for genre, similar in find_unknown_genres(_list_genres(corrections), catalog_genres).items():
        imdb_id = next(film for film, text in corrections.genres.items() if genre in split_genres(text))
        raise _error(f"film {imdb_id} has the genre {genre!r}", f"{similar!r}?" if similar else "one of the catalog's")


def _list_genres(corrections: Corrections) -> set[str]:
    return {name for text in corrections.genres.values() for name in split_genres(text)}
