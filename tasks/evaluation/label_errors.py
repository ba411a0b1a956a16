"""Likely label errors: where what films are given as genres and what their posters say disagree most."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def find_label_errors(
    films: pd.DataFrame, probabilities: NDArray[np.float32], vocabulary: Sequence[str], num_errors: int
) -> pd.DataFrame:
    """Lists the genres that films are given against all likelihood, and those that they lack.

    What is given is ranked by its probability over the share of films that have the genre, lowest first: of a rare
    genre low probabilities say little. What is not given, by its probability, highest first. (To rank labels by their
    held-out probabilities is from Northcutt, Jiang and Chuang 2021, "Confident Learning".)

    Args:
        films: with `imdb_id`, `title` and `targets`, 0 or 1 for each genre.
        probabilities: calibrated, by heads that have not learned from the film, shape `(num_films, num_genres)`.
        vocabulary: the genres, in the order of the columns.
        num_errors: how many to list of each of the two, at most.

    Returns:
        A row a film and genre: `imdb_id`, `title`, `genre`, `given` (whether the film has it) and `probability`; those
        that are given first.
    """
    targets = np.stack(films["targets"].tolist()).astype(bool)
    share = targets.mean(axis=0, dtype=np.float32)
    surprise = np.where(targets, share / np.maximum(probabilities, np.float32(1e-6)), probabilities)
    parts = []
    for given in (True, False):
        ranks = np.where(targets == given, surprise, -np.inf).ravel()
        # All of them are not sorted: there are some for each film.
        best = np.argpartition(-ranks, min(num_errors, len(ranks) - 1))[:num_errors]
        best = best[np.argsort(-ranks[best], kind="stable")]
        rows, columns = np.divmod(best[np.isfinite(ranks[best])], len(vocabulary))
        part = films.iloc[rows][["imdb_id", "title"]].reset_index(drop=True)
        part["genre"] = [vocabulary[column] for column in columns.tolist()]
        part["given"] = given
        part["probability"] = probabilities[rows, columns].astype(float)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def describe_label_errors(errors: pd.DataFrame, num_shown: int) -> dict[str, list[dict[str, Any]]]:
    """Returns the first of them, as the metrics have them: `given` and `not_given`."""
    return {
        kind: [
            {str(name): value for name, value in error.items()}
            for error in errors[errors["given"] == given].drop(columns="given").head(num_shown).to_dict("records")
        ]
        for kind, given in (("given", True), ("not_given", False))
    }
