"""The genres that a model learns, and the films' targets."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DatasetError


def count_genres(film_genres: Sequence[Sequence[str]], num_films: Sequence[int] | None = None) -> dict[str, int]:
    """Returns the number of films of each genre, most frequent first, then by name; only numbers over 0.

    Args:
        film_genres: Names of the genres of each film, or each different list of them.
        num_films: Number of films with each of the lists; None: one film each.
    """
    counts: Counter[str] = Counter()
    for names, number in zip(film_genres, num_films or [1] * len(film_genres), strict=True):
        counts.update(dict.fromkeys(names, number))
    counts = +counts
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def choose_genres(counts: dict[str, int], min_posters_per_genre: int) -> list[str]:
    """Returns the genres with at least `min_posters_per_genre` films, in alphabetical order.

    Raises:
        DatasetError: If fewer than two remain; the message suggests a value that leaves two.
    """
    genres = sorted(name for name, count in counts.items() if count >= min_posters_per_genre)
    if len(genres) < 2:
        most = sorted(counts.values(), reverse=True)[:2]
        advice = (
            f"try --min-posters {most[1]}" if len(most) == 2 else "the posters need at least two genres between them"
        )
        found = ", ".join(f"{name}: {count:,}" for name, count in list(counts.items())[:5]) or "none"
        raise DatasetError(
            f"{len(genres)} genres have {min_posters_per_genre:,} posters or more, expected at least 2 "
            f"(most frequent: {found}); {advice}"
        )
    return genres


def encode_genres(film_genres: Sequence[Sequence[str]], genres: Sequence[str]) -> NDArray[np.uint8]:
    """Returns the genre targets, 0 or 1, shape `(num_films, num_genres)`.

    Args:
        film_genres: Names of the genres of each film; those that are not in `genres` are ignored.
        genres: Names of the columns.
    """
    columns = {name: column for column, name in enumerate(genres)}
    targets = np.zeros((len(film_genres), len(genres)), np.uint8)
    for row, names in enumerate(film_genres):
        for name in names:
            if name in columns:
                targets[row, columns[name]] = 1
    return targets
