"""Calibrated probabilities, and the threshold on them at which each genre's decisions are best."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, precision_recall_curve
from sklearn.model_selection import KFold

from tasks.settings import ThresholdMethod

_NUM_FOLDS = 5

# Close to no regularisation; enough for a slope that is finite where logits tell all films of a genre from the others.
_INVERSE_REGULARISATION = 1e3


@dataclass(frozen=True)
class Calibration:
    """What turns a head's raw logits into probabilities and decisions; every array has the shape `(num_genres,)`.

    Calibrated logits are `slope * logit + intercept` (Platt 1999, "Probabilistic Outputs for Support Vector Machines").
    Less the threshold, they are the logits of the confidences, which are over 0.5 where a genre is decided for.

    Attributes:
        slopes: over 0.
        intercepts: beside them.
        thresholds: on the calibrated logits.
    """

    slopes: NDArray[np.float32]
    intercepts: NDArray[np.float32]
    thresholds: NDArray[np.float32]

    def fold(self, raw_logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the logits of the confidences."""
        return self.slopes * raw_logits + self.intercepts - self.thresholds

    def unfold(self, folded: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the raw logits again."""
        return (folded + self.thresholds - self.intercepts) / self.slopes


def calibrate(
    genre_targets: NDArray[np.uint8], raw_logits: NDArray[np.float32], method: ThresholdMethod
) -> Calibration:
    """Calibrates a head on films that it has not learned from, and finds thresholds.

    `calibrated` takes the threshold of `maximise_expected_f1`: there are two numbers to find for each genre, slope and
    intercept. `empirical` takes what is best on these very films, `maximise_f1`, and follows their noise, too: on other
    films it is worse, see tests/benchmarks/ablation.md. `none` leaves the decision where the raw probability is 0.5.

    A genre that all of the films have, or none, or the more seldom the higher its logit, keeps its raw probabilities.

    Args:
        genre_targets: 0 or 1, shape `(num_films, num_genres)`.
        raw_logits: same shape.
        method: how thresholds are found.
    """
    slopes = np.ones(raw_logits.shape[1], np.float32)
    intercepts, thresholds = np.zeros((2, raw_logits.shape[1]), np.float32)
    for column in range(raw_logits.shape[1]):
        of_genre, logits = genre_targets[:, column], raw_logits[:, column]
        if of_genre.min() == of_genre.max():
            continue
        fitted = LogisticRegression(C=_INVERSE_REGULARISATION).fit(logits[:, np.newaxis], of_genre)
        slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
        if slope <= 0:
            continue
        slopes[column], intercepts[column] = slope, intercept
        if method == "calibrated":
            thresholds[column] = logit(maximise_expected_f1(expit(slope * logits + intercept)))
        else:
            raw_threshold = maximise_f1(of_genre, logits) if method == "empirical" else 0.0
            thresholds[column] = slope * raw_threshold + intercept
    return Calibration(slopes, intercepts, thresholds)


def cross_validate(genre_targets: NDArray[np.uint8], raw_logits: NDArray[np.float32], method: ThresholdMethod) -> float:
    """Returns the macro-F1 of decisions whose thresholds were found on other films, a fifth of them at a time.

    What `calibrate` gives on the films it was given says too much of it. One film alone is decided at a raw 0.5.
    """
    if len(raw_logits) == 1:
        decisions = raw_logits > 0
    else:
        decisions = np.zeros(raw_logits.shape, bool)
        folds = KFold(min(_NUM_FOLDS, len(raw_logits)), shuffle=True, random_state=0)
        for others, fold in folds.split(raw_logits):
            calibration = calibrate(genre_targets[others], raw_logits[others], method)
            decisions[fold] = calibration.fold(raw_logits[fold]) > 0
    return float(f1_score(genre_targets, decisions, average="macro", zero_division=0))


def maximise_expected_f1(probabilities: NDArray[np.floating]) -> float:
    """Returns the threshold on calibrated probabilities of one genre that makes its expected F1 score highest.

    That is half of the highest score itself (Lipton, Elkan and Naryanaswamy 2014, "Optimal Thresholding of Classifiers
    to Maximize F1 Measure"), which is found by trying: of the k likeliest films, `2 * sum(p of these) / (k + sum(p of
    all))`.

    Args:
        probabilities: of the films, in [0, 1], not all 0, shape `(num_films,)`.
    """
    likeliest = np.sort(probabilities.astype(np.float64))[::-1]
    expected_f1 = 2 * np.cumsum(likeliest) / (np.arange(1, len(likeliest) + 1) + likeliest.sum())
    return float(expected_f1.max() / 2)


def maximise_f1(of_genre: NDArray[np.uint8], scores: NDArray[np.float32]) -> float:
    """Returns the threshold over which decisions for one genre have the highest F1 score on these films.

    It lies halfway between two neighbouring scores; below them all, if the best is to decide for the genre everywhere.
    Of several that are as good, the lowest.

    Args:
        of_genre: 0 or 1, some of each, shape `(num_films,)`.
        scores: any, the greater, the likelier; same shape.
    """
    candidates, f1 = trace_f1(of_genre, scores)
    best = int(np.argmax(f1))
    below = candidates[best - 1] if best else candidates[0] - 1
    return float(below + candidates[best]) / 2


def trace_f1(
    of_genre: NDArray[np.uint8], scores: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Returns the scores that differ, ascending, and the F1 score of deciding for the genre from each of them on.

    Args:
        of_genre: 0 or 1, some of them 1, shape `(num_films,)`.
        scores: same shape.
    """
    precision, recall, candidates = precision_recall_curve(of_genre, scores)
    # The last point has no score: nothing is decided for the genre.
    f1 = 2 * precision[:-1] * recall[:-1] / np.maximum(precision[:-1] + recall[:-1], np.finfo(float).tiny)
    return candidates, f1
