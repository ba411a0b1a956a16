"""Scores of multi-label decisions and probabilities, pooled over the whole set."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, f1_score, precision_recall_fscore_support

from tasks.evaluation.resampling import find_bounds, resample_f1, score_f1

# Batch size of the article's metric.
ARTICLE_BATCH_SIZE = 256

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


def score_decades(
    years: NDArray[np.integer[Any]], genre_targets: NDArray[np.uint8], decisions: NDArray[np.bool_]
) -> dict[str, dict[str, Any]]:
    """Returns by decade, such as `1990s`, the number of its films and their micro-F1, the earliest first.

    Args:
        years: Year of each film, 0 where unknown; such films are left out.
        genre_targets: Targets, 0 or 1, shape `(num_films, num_genres)`.
        decisions: Whether a genre is predicted, same shape.
    """
    decades = years - years % 10
    found = {}
    for decade in np.unique(decades[years > 0]).tolist():
        films = decades == decade
        micro_f1 = f1_score(genre_targets[films], decisions[films], average="micro", zero_division=0)
        found[f"{decade}s"] = {"num_films": int(films.sum()), "micro_f1": float(micro_f1)}
    return found


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
    if len(genre_targets) < 2:  # cannot be resampled
        return [0.0, 1.0] if others is None else [-1.0, 1.0]
    models = [(genre_targets, predicted) for predicted in (decisions, others) if predicted is not None]
    macro_f1, *other = (scores.mean(axis=1) for scores in resample_f1(models))
    return find_bounds(macro_f1 - other[0] if other else macro_f1)


def mean_batch_macro_f1(genre_targets: NDArray[np.uint8], decisions: NDArray[np.bool_]) -> float:
    """Returns the article's metric: the mean of macro-F1 over batches of 256 films, of equal weight.

    It is not macro-F1 of the whole set: a genre without films in a batch counts 0 there.
    """
    starts = range(0, len(decisions), ARTICLE_BATCH_SIZE)
    batches = [slice(start, start + ARTICLE_BATCH_SIZE) for start in starts]
    return float(np.mean([score_f1((genre_targets[batch], decisions[batch])).mean() for batch in batches]))


def average_precision(genre_targets: NDArray[np.uint8], scores: NDArray[np.float32]) -> float:
    """Returns the mean over genres of average precision: how well films are ranked, whatever the thresholds.

    Genres without films do not count, since they have none; NaN if no genre has any.

    Args:
        genre_targets: Targets, 0 or 1, shape `(num_films, num_genres)`.
        scores: Scores, higher where the genre is more probable, same shape.
    """
    present = genre_targets.any(axis=0)
    if not present.any():
        return float("nan")
    return float(average_precision_score(genre_targets[:, present], scores[:, present], average="macro"))


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
