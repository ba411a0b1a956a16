"""Turn rows of text into typed films; count dropped rows by reason, and doubtful values."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.catalog.genres import (
    count_doubts,
    find_disagreements,
    find_unknown_genres,
    split_genres,
    unify_spellings,
)

FILMS = pa.schema(
    [
        pa.field("imdb_id", pa.int64(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("year", pa.int16()),
        pa.field("score", pa.float32()),
        pa.field("genres", pa.list_(pa.string()), nullable=False),
        pa.field("poster_url", pa.string(), nullable=False),
    ]
)

ID_PATTERN = r"^[0-9]{1,18}$"

_GENRES_TYPE = FILMS.field("genres").type

_HAS_WRONG_SCORE = 1 << 7


@dataclass(frozen=True)
class CleanedRows:
    """The usable films of a catalog.

    Attributes:
        num_films: Number of the films.
        dropped: Number of rows dropped, by reason.
        doubts: Doubtful values of the films, by kind: those of `count_doubts`; `scores not from 1 to 10`, the number of
            scores that were replaced by null; and `rows that disagree`, as `find_disagreements` returns them.
        unknown_excluded: Excluded genres that are unknown, as `find_unknown_genres` returns them.
        iterate_films: Function that yields tables of schema `FILMS`, in the order of the file.
    """

    num_films: int
    dropped: dict[str, int]
    doubts: dict[str, Any]
    unknown_excluded: dict[str, str | None]
    iterate_films: Callable[[], Iterator[pa.Table]]


@dataclass(frozen=True)
class _Index:
    """What is kept of all rows: 13 bytes of each, in place of its texts.

    Attributes:
        imdb_ids: Id of each row, 0 if it has none, shape `(num_rows,)`.
        texts: The different texts of the column `Genre`: a million films have some thousands.
        text_of_row: Index in `texts` of each row, shape `(num_rows,)`.
        flags: What is wrong with each row, a bit for each of `_PROBLEMS` and `_HAS_WRONG_SCORE`, shape `(num_rows,)`.
    """

    imdb_ids: NDArray[np.int64]
    texts: list[str]
    text_of_row: NDArray[np.int32]
    flags: NDArray[np.uint8]

    @classmethod
    def make(cls, tables: Iterable[pa.Table]) -> "_Index":
        indices: dict[str, int] = {}
        ids, text_of_row, flags = [np.empty(0, np.int64)], [np.empty(0, np.int32)], [np.empty(0, np.uint8)]
        for table in tables:
            rows = _trim(table)
            encoded = rows["Genre"].dictionary_encode()
            new = [indices.setdefault(text, len(indices)) for text in encoded.dictionary.to_pylist()]
            text_of_row.append(np.array(new, np.int32)[encoded.indices.to_numpy()])
            ids.append(_parse_ids(rows["imdbId"]))
            flags.append(_find_problems(rows))
        return cls(np.concatenate(ids), list(indices), np.concatenate(text_of_row), np.concatenate(flags))

    def has(self, flag: int) -> NDArray[np.bool_]:
        """Returns which rows have a flag, shape `(num_rows,)`."""
        has_flag: NDArray[np.bool_] = (self.flags & flag) != 0
        return has_flag

    def expand(self, flags: list[bool]) -> NDArray[np.bool_]:
        """Returns the flag of each row, shape `(num_rows,)`, from the flag of each text."""
        row_flags: NDArray[np.bool_] = np.array(flags, bool)[self.text_of_row]
        return row_flags

    def count_texts(self, rows: NDArray[np.intp] | slice) -> dict[str, int]:
        """Returns how many of some rows have each text, without those that none has."""
        counts = np.bincount(self.text_of_row[rows], minlength=len(self.texts)).tolist()
        return {text: number for text, number in zip(self.texts, counts, strict=True) if number}


@dataclass(frozen=True)
class _Genres:
    """The column `Genre`, each different text parsed once.

    Attributes:
        canonical_names: Canonical name of each spelling of a genre, as `unify_spellings` returns it.
        lists: Genres of each text, canonical names.
        excluded: Canonical name of each excluded genre.
    """

    canonical_names: dict[str, str]
    lists: list[list[str]]
    excluded: dict[str, str]

    @classmethod
    def parse(cls, index: _Index, excluded_genres: Collection[str]) -> "_Genres":
        spellings: Counter[str] = Counter()
        for text, number in index.count_texts(slice(None)).items():
            spellings.update(dict.fromkeys(split_genres(text), number))
        canonical_names = unify_spellings(spellings)
        return cls(
            canonical_names=canonical_names,
            lists=[list(dict.fromkeys(canonical_names[name] for name in split_genres(text))) for text in index.texts],
            # An excluded genre's spelling need not be one of the catalog's.
            excluded={
                genre: unify_spellings({genre: 0, **spellings})[genre] for genre in sorted(frozenset(excluded_genres))
            },
        )


def clean(iterate_tables: Callable[[], Iterable[pa.Table]], excluded_genres: Collection[str]) -> CleanedRows:
    """Types the rows and drops the unusable ones.

    A row is dropped for the first reason that applies, in the order of the counts. Of rows with the same id the first
    usable one is kept. Spellings of the same genre are unified, see `unify_spellings`.

    Args:
        iterate_tables: Function that yields the rows, a table at a time, whenever it is called: string columns
            `tasks.catalog.reading.COLUMNS`.
        excluded_genres: Genres whose films are dropped, in any spelling.
    """
    index = _Index.make(iterate_tables())
    genres = _Genres.parse(index, excluded_genres)
    usable, dropped = _drop_unusable_rows(index, genres)
    imdb_ids = pd.Series(index.imdb_ids[usable])
    is_repeated = imdb_ids.duplicated().to_numpy()
    dropped["repeated id"] = int(is_repeated.sum())
    kept = usable[~is_repeated]
    is_kept = np.zeros(len(index.flags), bool)
    is_kept[kept] = True
    doubts = {
        **count_doubts(index.count_texts(kept), genres.canonical_names),
        "scores not from 1 to 10": int((index.has(_HAS_WRONG_SCORE) & is_kept).sum()),
        "rows that disagree": find_disagreements(_list_ambiguous(index, genres, usable, imdb_ids)),
    }
    unknown_excluded = find_unknown_genres(frozenset(excluded_genres), genres.canonical_names)

    def iterate_films() -> Iterator[pa.Table]:
        start = 0
        lists = pa.array(genres.lists, _GENRES_TYPE)
        for table in iterate_tables():
            rows = slice(start, start + table.num_rows)
            mask = is_kept[rows]
            yield _build_films(_trim(table.filter(pa.array(mask))), lists.take(pa.array(index.text_of_row[rows][mask])))
            start += table.num_rows

    return CleanedRows(len(kept), dropped, doubts, unknown_excluded, iterate_films)


def _trim(table: pa.Table) -> dict[str, pa.StringArray]:
    return {name: pc.utf8_trim_whitespace(table[name].combine_chunks()) for name in table.column_names}


def _parse_ids(texts: pa.StringArray) -> NDArray[np.int64]:
    is_id = pc.match_substring_regex(texts, ID_PATTERN)
    ids: NDArray[np.int64] = pc.if_else(is_id, texts, "0").cast(pa.int64()).to_numpy()
    return ids


_PROBLEMS: dict[str, Callable[[dict[str, pa.StringArray]], pa.BooleanArray]] = {
    "no id": lambda rows: pc.equal(rows["imdbId"], ""),
    "id not digits": lambda rows: pc.invert(pc.match_substring_regex(rows["imdbId"], ID_PATTERN)),
    "no poster address": lambda rows: pc.equal(rows["Poster"], ""),
    "poster address not http(s)": lambda rows: pc.invert(
        pc.match_substring_regex(rows["Poster"], r"^https?://[^/\s]+")
    ),
}


def _find_problems(rows: dict[str, pa.StringArray]) -> NDArray[np.uint8]:
    """Returns the flags of `_Index`."""
    has_score = np.asarray(pc.not_equal(rows["IMDB Score"], ""))
    has_wrong_score = has_score & np.asarray(_parse_scores(rows["IMDB Score"]).is_null())
    flags: NDArray[np.uint8] = has_wrong_score * np.uint8(_HAS_WRONG_SCORE)
    for bit, applies in enumerate(_PROBLEMS.values()):
        flags |= np.asarray(applies(rows)) * np.uint8(1 << bit)
    return flags


def _drop_unusable_rows(index: _Index, genres: _Genres) -> tuple[NDArray[np.intp], dict[str, int]]:
    """Returns the usable rows, ascending, and how many are not by the first reason that applies."""
    problems = {reason: index.has(1 << bit) for bit, reason in enumerate(_PROBLEMS)}
    reasons = {
        **{reason: problems[reason] for reason in ("no id", "id not digits")},
        "no genre": index.expand([not names for names in genres.lists]),
        **{reason: problems[reason] for reason in ("no poster address", "poster address not http(s)")},
        **{
            f"genre {genre}": index.expand([name in names for names in genres.lists])
            for genre, name in genres.excluded.items()
        },
    }
    is_usable = np.ones(len(index.flags), bool)
    dropped = {}
    for reason, applies in reasons.items():
        dropped[reason] = int((is_usable & applies).sum())
        is_usable &= ~applies
    return np.flatnonzero(is_usable), dropped


def _list_ambiguous(
    index: _Index, genres: _Genres, usable: NDArray[np.intp], imdb_ids: pd.Series
) -> list[tuple[int, list[str]]]:
    """Returns id and genres of the rows of the films whose rows have different texts of genres."""
    is_ambiguous = imdb_ids.duplicated(keep=False).to_numpy()
    rows = pd.DataFrame({"imdb_id": imdb_ids[is_ambiguous], "text": index.text_of_row[usable[is_ambiguous]]})
    differs = rows["text"] != rows.groupby("imdb_id")["text"].transform("first")
    rows = rows[rows["imdb_id"].isin(rows.loc[differs, "imdb_id"])]
    return [
        (imdb_id, genres.lists[text])
        for imdb_id, text in zip(rows["imdb_id"].tolist(), rows["text"].tolist(), strict=True)
    ]


def _build_films(rows: dict[str, pa.StringArray], genres: pa.ListArray) -> pa.Table:
    years = pc.extract_regex(rows["Title"], r"\((?P<year>(?:18|19|20)[0-9]{2})[^()]*\)$")
    return pa.table(
        {
            "imdb_id": rows["imdbId"].cast(pa.int64()),
            "title": rows["Title"],
            "year": pc.struct_field(years, "year").cast(pa.int16()),
            "score": _parse_scores(rows["IMDB Score"]),
            "genres": genres,
            "poster_url": rows["Poster"],
        },
        schema=FILMS,
    )


def _parse_scores(column: pa.StringArray) -> pa.FloatArray:
    """Returns numbers from 1 to 10, null for any other text."""
    encoded = column.dictionary_encode()
    numbers = pd.to_numeric(pd.Series(encoded.dictionary.to_pylist(), dtype=object), errors="coerce").astype(float)
    return pa.array(numbers.where(numbers.between(1, 10)), pa.float32(), from_pandas=True).take(encoded.indices)
