"""Scores of multi-label decisions and probabilities, pooled over the whole set."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap
from sklearn.metrics import f1_score, precision_recall_fscore_support

# Batch size of the article's metric.
ARTICLE_BATCH_SIZE = 256

_NUM_RESAMPLES = 1000
_RESAMPLES_AT_ONCE = 10  # eight bytes a film each
_NUM_BINS = 10


def score_decisions(
    genre_targets: NDArray[np.uint8], decisions: NDArray[np.bool_], genres: Sequence[str]
) -> dict[str, Any]:
    """Scores decisions.

    Args:
        genre_targets: Targets, 0 or 1, shape `(num_films, num_genres)`.
        decisions: Whether a genre is predicted, same shape.
        genres: Names of the genres, in the order of the columns.

    Returns:
        `macro_f1` and `micro_f1`, `macro_f1_interval` (see `find_interval`), `mean_batch_macro_f1` (see there),
        `labels_per_film`, and under `genres` by name `precision`, `recall`, `f1` (0 where undefined) and `support`
        (films of the genre), all as plain numbers.
    """
    # scikit-learn takes a single column for a binary problem; there are always two genres or more.
    precision, recall, f1, support = precision_recall_fscore_support(
        genre_targets, decisions, average=None, zero_division=0
    )
    return {
        "macro_f1": float(f1_score(genre_targets, decisions, average="macro", zero_division=0)),
        "macro_f1_interval": find_interval(genre_targets, decisions),
        "micro_f1": float(f1_score(genre_targets, decisions, average="micro", zero_division=0)),
        "mean_batch_macro_f1": mean_batch_macro_f1(genre_targets, decisions),
        "labels_per_film": float(decisions.sum(axis=1).mean()),
        "genres": {
            name: {
                "precision": float(precision[column]),
                "recall": float(recall[column]),
                "f1": float(f1[column]),
                "support": int(support[column]),
            }
            for column, name in enumerate(genres)
        },
    }


def find_interval(
    genre_targets: NDArray[np.uint8], decisions: NDArray[np.bool_], others: NDArray[np.bool_] | None = None
) -> list[float]:
    """Returns the 95% interval of macro-F1, or of its improvement on that of other decisions for the same films.

    By the percentile bootstrap over films (Efron 1979), 1,000 resamples with a fixed seed: the variation between test
    splits of this size, for this one model.

    Args:
        genre_targets: Targets, 0 or 1, shape `(num_films, num_genres)`.
        decisions: Predictions, same shape.
        others: Predictions to compare with, same shape; None: macro-F1 itself.

    Returns:
        Lower and upper end.
    """
    positives = genre_targets.astype(bool)

    def statistic(rows: NDArray[np.int64]) -> float:
        macro_f1 = _macro_f1(positives[rows], decisions[rows])
        return macro_f1 if others is None else macro_f1 - _macro_f1(positives[rows], others[rows])

    if len(positives) < 2:  # cannot be resampled
        return [0.0, 1.0] if others is None else [-1.0, 1.0]
    films = (np.arange(len(positives)),)
    found = bootstrap(
        films,
        statistic,
        n_resamples=_NUM_RESAMPLES,
        batch=_RESAMPLES_AT_ONCE,
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return [float(end) for end in found.confidence_interval]


def mean_batch_macro_f1(genre_targets: NDArray[np.uint8], decisions: NDArray[np.bool_]) -> float:
    """Returns the article's metric: the mean of macro-F1 over batches of 256 films, of equal weight.

    It is not macro-F1 of the whole set: a genre without films in a batch counts 0 there.
    """
    starts = range(0, len(decisions), ARTICLE_BATCH_SIZE)
    batches = [slice(start, start + ARTICLE_BATCH_SIZE) for start in starts]
    return float(np.mean([_macro_f1(genre_targets[batch].astype(bool), decisions[batch]) for batch in batches]))


def _macro_f1(positives: NDArray[np.bool_], decisions: NDArray[np.bool_]) -> float:
    """Returns scikit-learn's macro-F1, in a hundredth of its time: a bootstrap computes it a thousand times."""
    doubled = 2 * np.count_nonzero(positives & decisions, axis=0)
    total = np.count_nonzero(positives, axis=0) + np.count_nonzero(decisions, axis=0)
    return float(np.mean(doubled / np.maximum(total, 1)))


def measure_calibration(
    genre_targets: NDArray[np.uint8], probabilities: NDArray[np.float32], genres: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Returns how well calibrated the probabilities of each genre are.

    Args:
        genre_targets: Targets, 0 or 1, shape `(num_films, num_genres)`.
        probabilities: Probabilities, same shape; not confidences, which are scaled for decisions.
        genres: Names of the genres, in the order of the columns.

    Returns:
        By genre, `calibration_error`: the mean difference between probability and frequency over ten bins of equal
        width, weighed by their films (Naeini, Cooper and Hauskrecht 2015, "Obtaining Well Calibrated Probabilities
        Using Bayesian Binning"); and the `brier` score: the mean squared difference from 0 or 1 (Brier 1950).
    """
    bins = np.minimum((probabilities * _NUM_BINS).astype(int), _NUM_BINS - 1)
    figures = {}
    for column, name in enumerate(genres):
        surplus = probabilities[:, column].astype(float) - genre_targets[:, column]
        sums = np.bincount(bins[:, column], surplus, _NUM_BINS)
        figures[name] = {
            "calibration_error": float(np.abs(sums).sum() / len(surplus)),
            "brier": float(np.mean(surplus**2)),
        }
    return figures
