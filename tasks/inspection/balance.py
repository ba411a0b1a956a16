"""How evenly the genres are dealt to the splits."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.dataset.splits import SPLITS


@dataclass(frozen=True)
class GenreBalance:
    """The films of a genre in the splits.

    Attributes:
        genre: Name of the genre.
        num_films: Number of its films in each split.
        shares: Share of its films in each split, from 0 to 1; they sum to 1.
        deviation: The largest difference of a share from that of all films, from 0 to 1.
    """

    genre: str
    num_films: dict[str, int]
    shares: dict[str, float]
    deviation: float


def measure_balance(films: pd.DataFrame, genres: Sequence[str]) -> list[GenreBalance]:
    """Compares the shares of each genre in the splits with those of all films.

    Args:
        films: Films of the data set, with `split` and `targets`.
        genres: Names of the genres, in the order of the targets.

    Returns:
        The genres in the same order.
    """
    targets = np.stack(films["targets"].tolist())
    counts = np.array([targets[films["split"] == split].sum(axis=0, dtype=int) for split in SPLITS])
    expected = np.array([(films["split"] == split).mean() for split in SPLITS])
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    deviations = np.abs(shares - expected[:, np.newaxis]).max(axis=0)
    return [
        GenreBalance(
            genre=genre,
            num_films=dict(zip(SPLITS, counts[:, column].tolist(), strict=True)),
            shares=dict(zip(SPLITS, shares[:, column].tolist(), strict=True)),
            deviation=float(deviations[column]),
        )
        for column, genre in enumerate(genres)
    ]
