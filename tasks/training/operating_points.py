"""Operating points: the thresholds of each genre at which its predictions have a wanted precision."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.outputs.operating_points import list_thresholds

PRECISIONS = (0.5, 0.6, 0.7, 0.8, 0.9)

# Of fewer films the probabilities are mostly those of the calibration's tail.
MIN_FILMS = 10


def find_operating_points(
    genre_targets: NDArray[np.uint8], probabilities: NDArray[np.float32], genres: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Finds the lowest thresholds at which predictions of each genre have these precisions, on the validation split.

    The precision is the expected one, the mean of the predicted films' calibrated probabilities. By the share of right
    ones among them, the lowest threshold is one that chance favours: with 785 films, those for 0.8 have a precision of
    0.73 on other films, and those for 0.9 of 0.84. By expected precision it is 0.80 and 0.94 (see docs/model.md).

    A genre is predicted where its probability is at the threshold or over, so films of equal probability are predicted
    together. A precision that fewer than `MIN_FILMS` films reach is not reached.

    Args:
        genre_targets: Targets, 0 or 1, shape `(num_films, num_genres)`.
        probabilities: Calibrated probabilities, same shape.
        genres: Names of the genres, in the order of the columns.

    Returns:
        By genre and precision ("0.5" and so on) `threshold`, and on these films `num_films` (that are predicted),
        `precision` (share of right ones) and `recall`; None where the precision is not reached.
    """
    return {
        genre: _find_points(genre_targets[:, column], probabilities[:, column]) for column, genre in enumerate(genres)
    }


def _find_points(targets: NDArray[np.uint8], probabilities: NDArray[np.float32]) -> dict[str, Any]:
    order = np.argsort(-probabilities, kind="stable")
    descending = probabilities[order].astype(np.float64)
    num_right, num_films = np.cumsum(targets[order], dtype=np.int64), np.arange(1, len(order) + 1)
    is_last = np.append(descending[1:] != descending[:-1], True)  # of the films with its probability
    expected_precision = np.cumsum(descending) / num_films
    points: dict[str, Any] = {}
    for wanted in PRECISIONS:
        (reached,) = np.nonzero((expected_precision >= wanted) & is_last & (num_films >= MIN_FILMS))
        points[str(wanted)] = None
        if reached.size:
            last = reached[-1]
            points[str(wanted)] = {
                "threshold": float(descending[last]),
                "num_films": int(num_films[last]),
                "precision": float(num_right[last] / num_films[last]),
                "recall": float(num_right[last] / max(num_right[-1], 1)),
            }
    return points


def measure_operating_points(
    genre_targets: NDArray[np.uint8], probabilities: NDArray[np.float32], points: dict[str, dict[str, Any]]
) -> dict[str, dict[str, float]]:
    """Returns what the operating points give on other films, over all genres that reach the precision.

    Args:
        genre_targets: Targets, 0 or 1, shape `(num_films, num_genres)`.
        probabilities: Calibrated probabilities, same shape.
        points: Points as `find_operating_points` returns them, in the order of the columns.

    Returns:
        By precision `num_genres` (that reach it), `precision` (0 where nothing is predicted) and `recall` of their
        predictions, pooled, and `films_with_genres` (share of the films with a prediction).
    """
    positives, measured = genre_targets.astype(bool), {}
    for wanted in map(str, PRECISIONS):
        thresholds = list_thresholds(points, wanted)
        decisions = probabilities >= thresholds
        num_right, num_predicted = int((decisions & positives).sum()), int(decisions.sum())
        measured[wanted] = {
            "num_genres": int(np.count_nonzero(~np.isnan(thresholds))),
            "precision": num_right / max(num_predicted, 1),
            "recall": num_right / max(int(positives.sum()), 1),
            "films_with_genres": float(decisions.any(axis=1).mean()),
        }
    return measured
