"""Scores of multi-label decisions, by scikit-learn, pooled over the whole set."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score, precision_recall_fscore_support

THRESHOLD = 0.5


def score(
    genre_targets: NDArray[np.uint8], probabilities: NDArray[np.float32], vocabulary: Sequence[str]
) -> dict[str, Any]:
    """Scores probabilities at the threshold 0.5, strictly greater being a positive decision.

    Args:
        genre_targets: 0 or 1, shape `(num_films, num_genres)`.
        probabilities: same shape, in [0, 1].
        vocabulary: the genres, in the order of the columns.

    Returns:
        `macro_f1` and `micro_f1`, and under `genres` by name `precision`, `recall`, `f1` (0 where undefined) and
        `support` (films of the genre), all as plain numbers.
    """
    decisions = probabilities > THRESHOLD
    # Decisions and targets of one column would be taken for a binary problem; two columns and more never are.
    precision, recall, f1, support = precision_recall_fscore_support(
        genre_targets, decisions, average=None, zero_division=0
    )
    return {
        "macro_f1": float(f1_score(genre_targets, decisions, average="macro", zero_division=0)),
        "micro_f1": float(f1_score(genre_targets, decisions, average="micro", zero_division=0)),
        "genres": {
            name: {
                "precision": float(precision[column]),
                "recall": float(recall[column]),
                "f1": float(f1[column]),
                "support": int(support[column]),
            }
            for column, name in enumerate(vocabulary)
        },
    }
