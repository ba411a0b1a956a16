"""Turn rows of text into typed films; count dropped rows by reason, and doubtful values."""

from collections import Counter
from collections.abc import Collection, Mapping
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


@dataclass(frozen=True)
class CleanedRows:
    """The usable films of a catalog.

    Attributes:
        films: Table of schema `FILMS`, in the order of the file.
        dropped: Number of rows dropped, by reason.
        doubts: Doubtful values of the films, by kind: those of `count_doubts`; `scores not from 1 to 10`, the number of
            scores that were replaced by null; and `rows that disagree`, as `find_disagreements` returns them.
        unknown_excluded: Excluded genres that are unknown, as `find_unknown_genres` returns them.
    """

    films: pa.Table
    dropped: dict[str, int]
    doubts: dict[str, Any]
    unknown_excluded: dict[str, str | None]


@dataclass(frozen=True)
class _GenreColumn:
    """The column `Genre`, each different text parsed once: a million films have some thousands of different texts.

    Attributes:
        texts: The different texts.
        indices: Index in `texts` of each row, shape `(num_rows,)`.
        canonical_names: Canonical name of each spelling of a genre, as `unify_spellings` returns it.
        lists: Genres of each text, canonical names.
        excluded: Canonical name of each excluded genre.
    """

    texts: list[str]
    indices: pa.Int32Array
    canonical_names: dict[str, str]
    lists: list[list[str]]
    excluded: dict[str, str]

    @classmethod
    def parse(cls, column: pa.StringArray, excluded_genres: Collection[str]) -> "_GenreColumn":
        encoded = column.dictionary_encode()
        texts = encoded.dictionary.to_pylist()
        num_rows = np.bincount(encoded.indices.to_numpy(), minlength=len(texts)).tolist()
        spellings: Counter[str] = Counter()
        for text, number in zip(texts, num_rows, strict=True):
            spellings.update(dict.fromkeys(split_genres(text), number))
        canonical_names = unify_spellings(spellings)
        return cls(
            texts=texts,
            indices=encoded.indices,
            canonical_names=canonical_names,
            lists=[list(dict.fromkeys(canonical_names[name] for name in split_genres(text))) for text in texts],
            # An excluded genre's spelling need not be one of the catalog's.
            excluded={
                genre: unify_spellings({genre: 0, **spellings})[genre] for genre in sorted(frozenset(excluded_genres))
            },
        )

    def expand(self, flags: list[bool]) -> NDArray[np.bool_]:
        """Returns the flag of each row, shape `(num_rows,)`, from the flag of each text."""
        row_flags: NDArray[np.bool_] = np.array(flags, bool)[self.indices.to_numpy()]
        return row_flags

    def take_lists(self, rows: NDArray[np.intp]) -> pa.ListArray:
        """Returns the genres of some rows."""
        return pa.array(self.lists, _GENRES_TYPE).take(self.indices.take(rows))

    def count_texts(self, rows: NDArray[np.intp]) -> dict[str, int]:
        """Returns how many of some rows have each text, without those that none has."""
        counts = np.bincount(self.indices.take(rows).to_numpy(), minlength=len(self.texts)).tolist()
        return {text: number for text, number in zip(self.texts, counts, strict=True) if number}


def clean(rows: pa.Table, excluded_genres: Collection[str]) -> CleanedRows:
    """Types the rows and drops the unusable ones.

    A row is dropped for the first reason that applies, in the order of the counts. Of rows with the same id the first
    usable one is kept. Spellings of the same genre are unified, see `unify_spellings`.

    Args:
        rows: String columns `tasks.catalog.reading.COLUMNS`.
        excluded_genres: Genres whose films are dropped, in any spelling.
    """
    text = {name: pc.utf8_trim_whitespace(rows[name].combine_chunks()) for name in rows.column_names}
    genres = _GenreColumn.parse(text["Genre"], excluded_genres)
    usable = np.ones(rows.num_rows, bool)
    dropped = {}
    for reason, applies in _find_unusable_rows(text, genres).items():
        dropped[reason] = int((usable & applies).sum())
        usable &= ~applies
    (usable_rows,) = np.nonzero(usable)
    imdb_ids = pd.Series(text["imdbId"].take(usable_rows).cast(pa.int64()).to_numpy())
    is_repeated = imdb_ids.duplicated().to_numpy()
    dropped["repeated id"] = int(is_repeated.sum())
    kept_rows = usable_rows[~is_repeated]
    films = _build_films(text, genres, kept_rows)
    is_ambiguous = imdb_ids.duplicated(keep=False).to_numpy()
    ambiguous_genres = genres.take_lists(usable_rows[is_ambiguous]).to_pylist()
    ambiguous = list(zip(imdb_ids[is_ambiguous].tolist(), ambiguous_genres, strict=True))
    has_score = np.asarray(pc.not_equal(text["IMDB Score"].take(kept_rows), ""))
    doubts = {
        **count_doubts(genres.count_texts(kept_rows), genres.canonical_names),
        "scores not from 1 to 10": int((has_score & np.asarray(films["score"].is_null())).sum()),
        "rows that disagree": find_disagreements(ambiguous),
    }
    unknown_excluded = find_unknown_genres(frozenset(excluded_genres), genres.canonical_names)
    return CleanedRows(films, dropped, doubts, unknown_excluded)


def _find_unusable_rows(text: Mapping[str, pa.StringArray], genres: _GenreColumn) -> dict[str, NDArray[np.bool_]]:
    """Returns for each reason the rows it applies to, shape `(num_rows,)`."""
    no_digits = pc.invert(pc.match_substring_regex(text["imdbId"], ID_PATTERN))
    no_http = pc.invert(pc.match_substring_regex(text["Poster"], r"^https?://[^/\s]+"))
    return {
        "no id": np.asarray(pc.equal(text["imdbId"], "")),
        "id not digits": np.asarray(no_digits),
        "no genre": genres.expand([not names for names in genres.lists]),
        "no poster address": np.asarray(pc.equal(text["Poster"], "")),
        "poster address not http(s)": np.asarray(no_http),
        **{
            f"genre {genre}": genres.expand([name in names for names in genres.lists])
            for genre, name in genres.excluded.items()
        },
    }


def _build_films(text: Mapping[str, pa.StringArray], genres: _GenreColumn, kept_rows: NDArray[np.intp]) -> pa.Table:
    kept = {name: column.take(kept_rows) for name, column in text.items()}
    years = pc.extract_regex(kept["Title"], r"\((?P<year>(?:18|19|20)[0-9]{2})[^()]*\)$")
    return pa.table(
        {
            "imdb_id": kept["imdbId"].cast(pa.int64()),
            "title": kept["Title"],
            "year": pc.struct_field(years, "year").cast(pa.int16()),
            "score": _parse_scores(kept["IMDB Score"]),
            "genres": genres.take_lists(kept_rows),
            "poster_url": kept["Poster"],
        },
        schema=FILMS,
    )


def _parse_scores(column: pa.StringArray) -> pa.FloatArray:
    """Returns numbers from 1 to 10, null for any other text."""
    encoded = column.dictionary_encode()
    numbers = pd.to_numeric(pd.Series(encoded.dictionary.to_pylist(), dtype=object), errors="coerce").astype(float)
    return pa.array(numbers.where(numbers.between(1, 10)), pa.float32(), from_pandas=True).take(encoded.indices)
