"""Turn rows of text into typed films, and count what is dropped by reason."""

from collections.abc import Collection

import pandas as pd
import pyarrow as pa

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

# What the published file writes where a film has no genre.
_NO_GENRE = frozenset({"", "(no genres listed)"})


def clean(rows: pa.Table, excluded_genres: Collection[str]) -> tuple[pa.Table, dict[str, int]]:
    """Types the rows and drops those that can't be used.

    A row is dropped for the first reason that holds, in the order of the counts. Of rows with the same id the first
    that can be used is kept.

    Args:
        rows: the string columns of `tasks.catalog.reading.COLUMNS`.
        excluded_genres: films with any of these genres are dropped.

    Returns:
        The films, of schema `FILMS`, in the order of the file; and the number of rows dropped by reason.
    """
    # No extension dtypes: a column of Python strings behaves the same under pandas 2 and 3.
    text = pd.DataFrame({name: rows[name].to_pylist() for name in rows.column_names}, dtype=object)
    text = text.apply(lambda column: column.str.strip())
    genres = text["Genre"].map(split_genres)
    excluded = frozenset(excluded_genres)
    reasons = {
        "no id": text["imdbId"] == "",
        "id not digits": ~text["imdbId"].str.fullmatch(r"[0-9]{1,18}").astype(bool),
        "no genre": genres.map(len) == 0,
        "no poster address": text["Poster"] == "",
        "poster address not http(s)": ~text["Poster"].str.match(r"https?://[^/\s]+").astype(bool),
        **{f"genre {genre}": genres.map(lambda names, genre=genre: genre in names) for genre in sorted(excluded)},
    }
    usable = pd.Series(True, index=text.index)
    dropped = {}
    for reason, holds in reasons.items():
        dropped[reason] = int((usable & holds).sum())
        usable &= ~holds
    imdb_ids = text.loc[usable, "imdbId"].astype("int64")
    repeated = imdb_ids.duplicated()
    dropped["repeated id"] = int(repeated.sum())
    kept = text.loc[imdb_ids.index[~repeated]]
    films = pa.table(
        {
            "imdb_id": imdb_ids[~repeated].to_numpy(),
            "title": kept["Title"].tolist(),
            "year": _numbers(kept["Title"].str.extract(r"\(((?:18|19|20)[0-9]{2})[^()]*\)\s*$", expand=False)),
            "score": _numbers(kept["IMDB Score"]),
            "genres": genres[kept.index].tolist(),
            "poster_url": kept["Poster"].tolist(),
        },
        schema=FILMS,
    )
    return films, dropped


def split_genres(text: str) -> list[str]:
    """Returns the genres of `"Action| Drama|Action"`: stripped, without blanks, each once, in the order given."""
    return list(dict.fromkeys(name for name in map(str.strip, text.split("|")) if name not in _NO_GENRE))


def _numbers(column: "pd.Series[str]") -> list[float | None]:
    numbers = pd.to_numeric(column, errors="coerce")
    return [None if pd.isna(number) else number for number in numbers.tolist()]
