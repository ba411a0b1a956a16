"""Turn rows of text into typed films, and count what is dropped by reason."""

from collections import Counter
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tasks.catalog.genres import count_doubts, find_disagreements, split_genres, unify_spellings

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


def clean(rows: pa.Table, excluded_genres: Collection[str]) -> tuple[pa.Table, dict[str, int], dict[str, Any]]:
    """Types the rows and drops those that can't be used.

    A row is dropped for the first reason that holds, in the order of the counts. Of rows with the same id the first
    that can be used is kept. Genres that are spelt in several ways are read as one, see `unify_spellings`.

    Args:
        rows: the string columns of `tasks.catalog.reading.COLUMNS`.
        excluded_genres: films with any of these genres are dropped.

    Returns:
        The films, of schema `FILMS`, in the order of the file; the number of rows dropped by reason; and what is
        doubtful about the genres of the films, as `count_doubts` gives it, and under `rows that disagree` as
        `find_disagreements` does; and `scores not from 1 to 10`, which are left out.
    """
    text = {name: pc.utf8_trim_whitespace(rows[name].combine_chunks()) for name in rows.column_names}
    # A million films have some thousands of lists of genres: each is split once.
    written = text["Genre"].dictionary_encode()
    texts = written.dictionary.to_pylist()
    num_rows = np.bincount(written.indices.to_numpy(), minlength=len(texts)).tolist()
    spelt: Counter[str] = Counter()
    for names, number in zip(texts, num_rows, strict=True):
        spelt.update(dict.fromkeys(split_genres(names), number))
    read_as = unify_spellings(spelt)
    lists = [list(dict.fromkeys(read_as[name] for name in split_genres(names))) for names in texts]
    # By their own spelling, whatever that of the catalog.
    excluded = {genre: unify_spellings({genre: 0, **spelt})[genre] for genre in sorted(frozenset(excluded_genres))}
    reasons = {
        "no id": pc.equal(text["imdbId"], ""),
        "id not digits": pc.invert(pc.match_substring_regex(text["imdbId"], r"^[0-9]{1,18}$")),
        "no genre": _of_each([not names for names in lists], written),
        "no poster address": pc.equal(text["Poster"], ""),
        "poster address not http(s)": pc.invert(pc.match_substring_regex(text["Poster"], r"^https?://[^/\s]+")),
        **{f"genre {genre}": _of_each([read in names for names in lists], written) for genre, read in excluded.items()},
    }
    usable = np.ones(rows.num_rows, bool)
    dropped = {}
    for reason, holds in reasons.items():
        holds = np.asarray(holds.to_numpy(zero_copy_only=False), bool)
        dropped[reason] = int((usable & holds).sum())
        usable &= ~holds
    (numbers,) = np.nonzero(usable)
    imdb_ids = text["imdbId"].take(numbers).cast(pa.int64())
    repeated = pd.Series(imdb_ids.to_numpy()).duplicated().to_numpy()
    dropped["repeated id"] = int(repeated.sum())
    kept = {name: column.take(numbers[~repeated]) for name, column in text.items()}
    years = pc.extract_regex(kept["Title"], r"\((?P<year>(?:18|19|20)[0-9]{2})[^()]*\)$")
    films = pa.table(
        {
            "imdb_id": imdb_ids.filter(~repeated),
            "title": kept["Title"],
            "year": pc.struct_field(years, "year").cast(pa.int16()),
            "score": _parse_scores(kept["IMDB Score"]),
            "genres": pa.array(lists, FILMS.field("genres").type).take(written.indices.take(numbers[~repeated])),
            "poster_url": kept["Poster"],
        },
        schema=FILMS,
    )
    shown = written.indices.take(numbers[~repeated]).to_numpy()
    num_films = np.bincount(shown, minlength=len(texts)).tolist()
    doubts = count_doubts({text: number for text, number in zip(texts, num_films, strict=True) if number}, read_as)
    (several,) = np.nonzero(pd.Series(imdb_ids.to_numpy()).duplicated(keep=False).to_numpy())
    columns = (imdb_ids.take(several), written.indices.take(numbers[several]))
    of_several = zip(*(column.to_pylist() for column in columns), strict=True)
    disagreements = find_disagreements([(imdb_id, lists[text]) for imdb_id, text in of_several])
    no_scores = pc.and_(pc.not_equal(kept["IMDB Score"], ""), pc.is_null(films["score"]))
    doubts["scores not from 1 to 10"] = int(np.asarray(no_scores.to_numpy(zero_copy_only=False), bool).sum())
    return films, dropped, {**doubts, "rows that disagree": disagreements}


def _of_each(answers: list[bool], written: pa.DictionaryArray) -> pa.BooleanArray:
    """Returns the answer about each row's text, given those about the different texts."""
    return pa.array(answers, pa.bool_()).take(written.indices)


def _parse_scores(column: pa.StringArray) -> pa.FloatArray:
    """Returns numbers from 1 to 10, null for what is none."""
    written = column.dictionary_encode()
    numbers = pd.to_numeric(pd.Series(written.dictionary.to_pylist(), dtype=object), errors="coerce").astype(float)
    return pa.array(numbers.where(numbers.between(1, 10)), pa.float32(), from_pandas=True).take(written.indices)
