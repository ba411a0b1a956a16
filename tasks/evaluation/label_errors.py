"""Likely label errors: labels of the catalog that held-out predictions contradict most.

cleanlab's multi-label functions rank films, or the films of one class; here pairs of film and genre are ranked over
all genres, in ten lines.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.inert import for_csv


def find_label_errors(
    films: pd.DataFrame, probabilities: NDArray[np.float32], genres: Sequence[str], num_errors: int
) -> pd.DataFrame:
    """Lists improbable labels, and probable genres that are no labels.

    Labels are ranked by their probability over the share of films that have the genre, lowest first: probabilities of a
    rare genre are low everywhere. Missing labels are ranked by their probability, highest first. (Ranking labels by
    held-out probabilities is from Northcutt, Jiang and Chuang 2021, "Confident Learning".)

    Args:
        films: Films with `imdb_id`, `title` and `targets`, 0 or 1 for each genre.
        probabilities: Calibrated probabilities by heads that have not learned from the film, shape
            `(num_films, num_genres)`.
        genres: Names of the genres, in the order of the columns.
        num_errors: Number of rows of each of the two, at most.

    Returns:
        A row a film and genre: `imdb_id`, `title`, `genre`, `given` (whether it is a label) and `probability`; labels
        first.
    """
    targets = np.stack(films["targets"].tolist()).astype(bool)
    share = targets.mean(axis=0, dtype=np.float32)
    surprise = np.where(targets, share / np.maximum(probabilities, np.float32(1e-6)), probabilities)
    parts = []
    for given in (True, False):
        ranks = np.where(targets == given, surprise, -np.inf).ravel()
        # A full sort would be of every film and genre.
        best = np.argpartition(-ranks, min(num_errors, len(ranks) - 1))[:num_errors]
        best = best[np.argsort(-ranks[best], kind="stable")]
        rows, columns = np.divmod(best[np.isfinite(ranks[best])], len(genres))
        part = films.iloc[rows][["imdb_id", "title"]].reset_index(drop=True)
        part["genre"] = [genres[column] for column in columns.tolist()]
        part["given"] = given
        part["probability"] = probabilities[rows, columns].astype(float)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def describe_label_errors(errors: pd.DataFrame, num_shown: int) -> dict[str, list[dict[str, Any]]]:
    """Returns the first rows of each kind, for the metrics: `given` and `not_given`."""
    return {
        kind: [
            {str(name): value for name, value in error.items()}
            for error in errors[errors["given"] == given].drop(columns="given").head(num_shown).to_dict("records")
        ]
        for kind, given in (("given", True), ("not_given", False))
    }


def write_label_errors(errors: pd.DataFrame, path: Path) -> None:
    """Writes the rows that `find_label_errors` returns as a CSV whose texts are no formulas."""
    errors.map(for_csv).to_csv(path, index=False, float_format="%.4f")
