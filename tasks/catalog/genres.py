"""What films are said to be: genres as they are written, as they are read, and what is doubtful about them."""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

# IMDB's genres, as its title pages list them, and "Adult", which they no longer do.
IMDB_GENRES = (
    *("Action", "Adult", "Adventure", "Animation", "Biography", "Comedy", "Crime", "Documentary", "Drama", "Family"),
    *("Fantasy", "Film-Noir", "Game-Show", "History", "Horror", "Music", "Musical", "Mystery", "News", "Reality-TV"),
    *("Romance", "Sci-Fi", "Short", "Sport", "Talk-Show", "Thriller", "War", "Western"),
)

# What the published file writes where a film has no genre.
_NO_GENRE = frozenset({"", "(no genres listed)"})

# IMDB lists no more of a film.
_MOST_GENRES = 3

_NUM_EXAMPLES = 20


def split_genres(text: str) -> list[str]:
    """Returns the genres of `"Action| Drama|Action"`: stripped, without blanks, each once, in the order given."""
    return list(dict.fromkeys(name for name in map(str.strip, text.split("|")) if name not in _NO_GENRE))


def unify_spellings(counts: Mapping[str, int]) -> dict[str, str]:
    """Returns how each genre is read: of spellings that differ in case, spaces, hyphens and the like alone, one.

    That is IMDB's where it has the genre (`sci fi` is read as `Sci-Fi`), and else the commonest, of equals the first by
    name.

    Args:
        counts: how often each spelling is written.
    """
    read_as = {_fold(name): name for name in IMDB_GENRES}
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        read_as.setdefault(_fold(name), name)
    return {name: read_as[_fold(name)] for name in counts}


def _fold(name: str) -> str:
    letters = "".join(letter for letter in unicodedata.normalize("NFKC", name).casefold() if letter.isalnum())
    return letters or name


def count_doubts(written: Mapping[str, int], read_as: Mapping[str, str]) -> dict[str, Any]:
    """Counts what is doubtful about the genres of films.

    Args:
        written: how many films have each text in the column `Genre`.
        read_as: as `unify_spellings` gives it.

    Returns:
        How many films have `more than three genres` and `spaces around genres`; and by name those of each of the
        `spellings read as another` (`sci fi as Sci-Fi`) and of the `genres unknown to IMDB`.
    """
    counts: Counter[str] = Counter()
    spellings: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for text, num_films in written.items():
        names = split_genres(text)
        genres = {read_as[name] for name in names}
        counts["more than three genres"] += num_films * (len(genres) > _MOST_GENRES)
        counts["spaces around genres"] += num_films * any(name != name.strip() for name in text.split("|"))
        spellings.update({f"{name} as {read_as[name]}": num_films for name in names if read_as[name] != name})
        unknown.update(dict.fromkeys(genres.difference(IMDB_GENRES), num_films))
    return {
        **{name: counts[name] for name in ("more than three genres", "spaces around genres")},
        "spellings read as another": dict(spellings.most_common()),
        "genres unknown to IMDB": dict(unknown.most_common()),
    }


def find_disagreements(rows: Sequence[tuple[int, Sequence[str]]]) -> dict[str, Any]:
    """Finds films whose repeated rows name different genres, in whatever order.

    Args:
        rows: id and genres of each row of a film that has several; of each film the one that is kept comes first.

    Returns:
        How many `films` there are, and some `examples`: id, genres that are kept, genres of another row.
    """
    kept: dict[int, Sequence[str]] = {}
    found: dict[int, dict[str, Any]] = {}
    for imdb_id, genres in rows:
        first = kept.setdefault(imdb_id, genres)
        if set(first) != set(genres):
            found.setdefault(imdb_id, {"imdb_id": imdb_id, "kept": list(first), "other": list(genres)})
    return {"films": len(found), "examples": list(found.values())[:_NUM_EXAMPLES]}
