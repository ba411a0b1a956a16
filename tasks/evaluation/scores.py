"""Scores of multi-label decisions and probabilities, pooled over the whole set."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, spearmanr
from sklearn.metrics import f1_score, precision_recall_fscore_support

THRESHOLD = 0.5

# The article's own way of scoring, for comparison with its figures.
ARTICLE_BATCH_SIZE = 256

_NUM_RESAMPLES = 1000
_RESAMPLES_AT_ONCE = 10  # each takes eight bytes a film
_NUM_BINS = 10


def score(
    genre_targets: NDArray[np.uint8], confidences: NDArray[np.float32], vocabulary: Sequence[str]
) -> dict[str, Any]:
    """Scores confidences at the threshold 0.5, strictly greater being a positive decision.

    Args:
        genre_targets: 0 or 1, shape `(num_films, num_genres)`.
        confidences: same shape, in [0, 1].
        vocabulary: the genres, in the order of the columns.

    Returns:
        `macro_f1` and `micro_f1`, `macro_f1_interval` (see `find_interval`), `mean_batch_macro_f1` (see there), and
        under `genres` by name `precision`, `recall`, `f1` (0 where undefined) and `support` (films of the genre), all
        as plain numbers.
    """
    decisions = confidences > THRESHOLD
    # Decisions and targets of one column would be taken for a binary problem; two columns and more never are.
    precision, recall, f1, support = precision_recall_fscore_support(
        genre_targets, decisions, average=None, zero_division=0
    )
    return {
        "macro_f1": float(f1_score(genre_targets, decisions, average="macro", zero_division=0)),
        "macro_f1_interval": find_interval(genre_targets, decisions),
        "micro_f1": float(f1_score(genre_targets, decisions, average="micro", zero_division=0)),
        "mean_batch_macro_f1": mean_batch_macro_f1(genre_targets, decisions),
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


def find_interval(
    genre_targets: NDArray[np.uint8], decisions: NDArray[np.bool_], others: NDArray[np.bool_] | None = None
) -> list[float]:
    """Returns the 95% interval of macro-F1, or of how far it is ahead of that of other decisions on the same films.

    By the percentile bootstrap over films (Efron 1979), 1,000 resamples, always the same: what another test split of
    as many films could have shown, for this one model.

    Args:
        genre_targets: 0 or 1, shape `(num_films, num_genres)`.
        decisions: same shape.
        others: same shape; None for macro-F1 itself.

    Returns:
        Its two ends.
    """
    positives = genre_targets.astype(bool)

    def statistic(rows: NDArray[np.int64]) -> float:
        of_decisions = _macro_f1(positives[rows], decisions[rows])
        return of_decisions if others is None else of_decisions - _macro_f1(positives[rows], others[rows])

    if len(positives) < 2:  # of which there is no resampling
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
    """Returns what the article calls macro-F1: its mean over batches of 256 films, each counted alike.

    It is not macro-F1 of the whole: a genre that a batch has no film of counts 0 there.
    """
    starts = range(0, len(decisions), ARTICLE_BATCH_SIZE)
    batches = [slice(start, start + ARTICLE_BATCH_SIZE) for start in starts]
    return float(np.mean([_macro_f1(genre_targets[batch].astype(bool), decisions[batch]) for batch in batches]))


def _macro_f1(positives: NDArray[np.bool_], decisions: NDArray[np.bool_]) -> float:
    """Returns scikit-learn's macro-F1, in a hundredth of its time: a bootstrap asks for it a thousand times."""
    doubled = 2 * np.count_nonzero(positives & decisions, axis=0)
    total = np.count_nonzero(positives, axis=0) + np.count_nonzero(decisions, axis=0)
    return float(np.mean(doubled / np.maximum(total, 1)))


def score_decade(
    targets: NDArray[np.int32], answers: NDArray[np.int32], train_targets: NDArray[np.int32]
) -> dict[str, Any]:
    """Scores decades, by their first years, beside always saying the one that most films of the training split are of.

    Args:
        targets: of the films.
        answers: the likeliest, same shape.
        train_targets: those of the training split.

    Returns:
        `num_films`, `accuracy`, `within_one` (share of those at most ten years away), the `majority` and
        `majority_accuracy`.
    """
    decades, counts = np.unique(train_targets, return_counts=True)
    majority = decades[counts.argmax()]
    return {
        "num_films": len(targets),
        "accuracy": float(np.mean(answers == targets)),
        "within_one": float(np.mean(np.abs(answers - targets) <= 10)),
        "majority": int(majority),
        "majority_accuracy": float(np.mean(targets == majority)),
    }


def score_score(
    targets: NDArray[np.float32], answers: NDArray[np.float32], train_targets: NDArray[np.float32]
) -> dict[str, Any]:
    """Scores the answers for IMDB's score beside always saying the median of the training split, which is hard to beat.

    Args:
        targets: in points, shape `(num_films,)`.
        answers: same shape.
        train_targets: those of the training split.

    Returns:
        `num_films`, `mean_absolute_error` in points, `median_mean_absolute_error`, and Spearman's `rank_correlation`,
        which is 0 where all targets or all answers are the same.
    """
    correlation = spearmanr(targets, answers).statistic if np.ptp(targets) and np.ptp(answers) else 0.0
    return {
        "num_films": len(targets),
        "mean_absolute_error": float(np.abs(answers - targets).mean()),
        "median_mean_absolute_error": float(np.abs(np.median(train_targets) - targets).mean()),
        "rank_correlation": float(correlation),
    }


def measure_calibration(
    genre_targets: NDArray[np.uint8], probabilities: NDArray[np.float32], vocabulary: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Returns how far the probabilities of each genre can be taken at their word.

    Args:
        genre_targets: 0 or 1, shape `(num_films, num_genres)`.
        probabilities: same shape; not confidences, which are made for decisions.
        vocabulary: the genres, in the order of the columns.

    Returns:
        By genre, `calibration_error`: the mean difference between probability and frequency over ten bins of equal
        width, weighed by their films (Naeini, Cooper and Hauskrecht 2015, "Obtaining Well Calibrated Probabilities
        Using Bayesian Binning"); and the `brier` score: the mean squared difference from 0 or 1 (Brier 1950).
    """
    bins = np.minimum((probabilities * _NUM_BINS).astype(int), _NUM_BINS - 1)
    figures = {}
    for column, name in enumerate(vocabulary):
        surplus = probabilities[:, column].astype(float) - genre_targets[:, column]
        sums = np.bincount(bins[:, column], surplus, _NUM_BINS)
        figures[name] = {
            "calibration_error": float(np.abs(sums).sum() / len(surplus)),
            "brier": float(np.mean(surplus**2)),
        }
    return figures
