"""F1 scores in resamples of the films: the noise of a score, and of differences between models, on a test split."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NUM_RESAMPLES = 1000
_SEED = 0
# Weights that are held at once, each of four bytes.
_WEIGHTS_AT_ONCE = 16_000_000

# Targets and predictions of one model: uint8 or bool, 0 or 1, shape `(num_films, num_genres)` each.
Scored = tuple[NDArray[np.generic], NDArray[np.bool_]]


def find_bounds(resampled: NDArray[np.float64]) -> list[float]:
    """Returns lower and upper end of the 95% interval of a value in resamples, by percentiles (Efron 1979)."""
    return [float(end) for end in np.percentile(resampled, [2.5, 97.5])]


def score_f1(scored: Scored) -> NDArray[np.float64]:
    """Returns the F1 score of each genre, 0 where there are neither films nor predictions; shape `(num_genres,)`."""
    doubled, totals = _count(scored)
    scores: NDArray[np.float64] = doubled.sum(axis=0) / np.maximum(totals.sum(axis=0), 1)
    return scores


def resample_f1(
    models: Sequence[Scored], num_resamples: int = NUM_RESAMPLES, seed: int = _SEED
) -> list[NDArray[np.float64]]:
    """Returns the F1 score of each genre in resamples of the films, which are the same resamples for all models.

    The bootstrap over films (Efron 1979). A resample is a weight for each film, the number of times that it was drawn,
    so that the counts of all resamples and models are one matrix product.

    Args:
        models: Targets and predictions of each model, all of the same films; the genres may differ.
        num_resamples: Number of resamples.
        seed: Seed of the resamples: the same number of films and seed, the same resamples.

    Returns:
        For each model the scores, as `score_f1` defines them, shape `(num_resamples, num_genres)`.
    """
    counts = [array.astype(np.float32) for scored in models for array in _count(scored)]
    columns = np.hstack(counts)
    num_films = len(columns)
    generator = np.random.default_rng(seed)
    at_once = max(1, _WEIGHTS_AT_ONCE // max(num_films, 1))
    sums = np.concatenate(
        [
            _draw_weights(generator, min(at_once, num_resamples - start), num_films) @ columns
            for start in range(0, num_resamples, at_once)
        ]
    )
    parts = np.split(sums.astype(float), np.cumsum([array.shape[1] for array in counts])[:-1], axis=1)
    return [doubled / np.maximum(totals, 1) for doubled, totals in zip(parts[::2], parts[1::2], strict=True)]


def _count(scored: Scored) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Returns twice the true positives, and the films of a genre plus those predicted to have it, film by film."""
    positives, predicted = (array.astype(np.uint8) for array in scored)
    return 2 * (positives & predicted), positives + predicted


def _draw_weights(generator: np.random.Generator, num_resamples: int, num_films: int) -> NDArray[np.float32]:
    """Returns how often each film was drawn, shape `(num_resamples, num_films)`."""
    drawn = generator.integers(num_films, size=(num_resamples, num_films), dtype=np.int32)
    return np.stack([np.bincount(row, minlength=num_films) for row in drawn]).astype(np.float32)
