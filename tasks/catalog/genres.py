"""Parse genres, unify their spellings, and count doubtful ones."""

import difflib
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

# The genres on IMDB's title pages, and "Adult", which those no longer list.
IMDB_GENRES = (
    *("Action", "Adult", "Adventure", "Animation", "Biography", "Comedy", "Crime", "Documentary", "Drama", "Family"),
    *("Fantasy", "Film-Noir", "Game-Show", "History", "Horror", "Music", "Musical", "Mystery", "News", "Reality-TV"),
    *("Romance", "Sci-Fi", "Short", "Sport", "Talk-Show", "Thriller", "War", "Western"),
)

# The published file's text for a film without genres.
_NO_GENRE = frozenset({"", "(no genres listed)"})

# IMDB's own limit for a film.
_MAX_GENRES = 3

_NUM_EXAMPLES = 20

# Ratio of difflib: `adlt` and `adult` have 0.89, the most similar two of IMDB's genres, `Music` and `Musical`, 0.83.
_MIN_SIMILARITY = 0.75


def split_genres(text: str) -> list[str]:
    """Splits a text such as `"Action| Drama|Action"` into genres: stripped, not blank, unique, in their order."""
    return list(dict.fromkeys(name for name in map(str.strip, text.split("|")) if name not in _NO_GENRE))


def unify_spellings(counts: Mapping[str, int]) -> dict[str, str]:
    """Returns the canonical name of each genre: one for spellings that differ in case, spaces or punctuation only.

    The canonical name is IMDB's if IMDB has the genre (`Sci-Fi` for `sci fi`), otherwise the most frequent spelling, or
    the first by name of equally frequent ones.

    Args:
        counts: Frequency of each spelling.

    Returns:
        The canonical name of each spelling in `counts`.
    """
    names_by_key = {_fold(name): name for name in IMDB_GENRES}
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        names_by_key.setdefault(_fold(name), name)
    return {name: names_by_key[_fold(name)] for name in counts}


def _fold(name: str) -> str:
    letters = "".join(letter for letter in unicodedata.normalize("NFKC", name).casefold() if letter.isalnum())
    return letters or name


def find_unknown_genres(genres: Collection[str], catalog_genres: Iterable[str]) -> dict[str, str | None]:
    """Returns the genres that neither IMDB nor the catalog has in any spelling, with the most similar known one.

    Args:
        genres: Names in any spelling.
        catalog_genres: Names of the catalog's genres.

    Returns:
        For each unknown genre the name of a known one that differs by a letter or two; None if no known one is similar.
    """
    # IMDB's spelling has precedence.
    known = {_fold(name): name for name in [*catalog_genres, *IMDB_GENRES]}
    unknown = {}
    for genre in sorted(genres):
        if _fold(genre) not in known:
            similar = difflib.get_close_matches(_fold(genre), known, n=1, cutoff=_MIN_SIMILARITY)
            unknown[genre] = known[similar[0]] if similar else None
    return unknown


def count_doubts(num_films_by_text: Mapping[str, int], canonical_names: Mapping[str, str]) -> dict[str, Any]:
    """Counts films with doubtful genres.

    Args:
        num_films_by_text: Number of films with each text of the column `Genre`.
        canonical_names: Canonical name of each spelling, as `unify_spellings` returns it.

    Returns:
        The number of films with `more than three genres`, and with `spaces around genres`; and, by name, the numbers
        with each of the `spellings read as another` (`sci fi as Sci-Fi`) and each of the `genres unknown to IMDB`.
    """
    counts: Counter[str] = Counter()
    spellings: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for text, num_films in num_films_by_text.items():
        names = split_genres(text)
        genres = {canonical_names[name] for name in names}
        counts["more than three genres"] += num_films * (len(genres) > _MAX_GENRES)
        counts["spaces around genres"] += num_films * any(name != name.strip() for name in text.split("|"))
        spellings.update(
            {f"{name} as {canonical_names[name]}": num_films for name in names if canonical_names[name] != name}
        )
        unknown.update(dict.fromkeys(genres.difference(IMDB_GENRES), num_films))
    return {
        **{name: counts[name] for name in ("more than three genres", "spaces around genres")},
        "spellings read as another": dict(spellings.most_common()),
        "genres unknown to IMDB": dict(unknown.most_common()),
    }


def find_disagreements(rows: Sequence[tuple[int, Sequence[str]]]) -> dict[str, Any]:
    """Finds films whose repeated rows have different genres; the order of genres doesn't matter.

    Args:
        rows: IMDB id and genres of each row of the films that have several rows; a film's kept row is its first.

    Returns:
        The number of such `films`, and some `examples`: id, genres of the kept row, genres of another row.
    """
    kept: dict[int, Sequence[str]] = {}
    found: dict[int, dict[str, Any]] = {}
    for imdb_id, genres in rows:
        first = kept.setdefault(imdb_id, genres)
        if set(first) != set(genres):
            found.setdefault(imdb_id, {"imdb_id": imdb_id, "kept": list(first), "other": list(genres)})
    return {"films": len(found), "examples": list(found.values())[:_NUM_EXAMPLES]}
