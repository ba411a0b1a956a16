"""Which genres are learned."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DatasetError


def count_genres(genres: Sequence[Sequence[str]]) -> dict[str, int]:
    """Returns how many films have each genre, most frequent first, then by name."""
    counts = Counter(name for names in genres for name in set(names))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def choose_vocabulary(counts: dict[str, int], min_posters_per_genre: int) -> list[str]:
    """Returns the genres with at least `min_posters_per_genre` films, in alphabetical order.

    Raises:
        DatasetError: if fewer than two are left; it suggests a value that leaves two.
    """
    vocabulary = sorted(name for name, count in counts.items() if count >= min_posters_per_genre)
    if len(vocabulary) < 2:
        most = sorted(counts.values(), reverse=True)[:2]
        advice = (
            f"try --min-posters {most[1]}" if len(most) == 2 else "the posters need at least two genres between them"
        )
        found = ", ".join(f"{name}: {count:,}" for name, count in list(counts.items())[:5]) or "none"
        raise DatasetError(
            f"{len(vocabulary)} genres have {min_posters_per_genre:,} posters or more, expected at least 2 "
            f"(most frequent: {found}); {advice}"
        )
    return vocabulary


def encode_genres(genres: Sequence[Sequence[str]], vocabulary: Sequence[str]) -> NDArray[np.uint8]:
    """Returns the genre targets: 0 or 1, shape `(num_films, num_genres)`. Genres not in `vocabulary` are left out."""
    columns = {name: column for column, name in enumerate(vocabulary)}
    targets = np.zeros((len(genres), len(vocabulary)), np.uint8)
    for row, names in enumerate(genres):
        for name in names:
            if name in columns:
                targets[row, columns[name]] = 1
    return targets
