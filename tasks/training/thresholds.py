"""Calibrate probabilities, and find the threshold of each genre at which its F1 score is highest."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, precision_recall_curve
from sklearn.model_selection import KFold

from tasks.outputs.calibration import Calibration
from tasks.settings import ThresholdMethod

_NUM_FOLDS = 5

# Close to no regularisation; enough for a finite slope where logits separate the films of a genre from all others.
_INVERSE_REGULARISATION = 1e3


def calibrate(
    genre_targets: NDArray[np.uint8], raw_logits: NDArray[np.float32], method: ThresholdMethod
) -> Calibration:
    """Calibrates a head on films that it has not learned from, and finds thresholds.

    `calibrated` takes the threshold of `maximise_expected_f1`: two numbers are fitted for each genre, slope and
    intercept. `empirical` takes the best threshold on these films, `maximise_f1`, and fits their noise, too: on other
    films it is worse, see tests/benchmarks/ablation.md. `none` keeps the decision at a raw probability of 0.5.

    A genre that all of the films have, or none, or whose frequency falls with its logit, keeps its raw probabilities.

    Args:
        genre_targets: Targets, 0 or 1, shape `(num_films, num_genres)`.
        raw_logits: Logits, same shape.
        method: Method by which thresholds are found.
    """
    slopes = np.ones(raw_logits.shape[1], np.float32)
    intercepts, thresholds = np.zeros((2, raw_logits.shape[1]), np.float32)
    for column in range(raw_logits.shape[1]):
        targets, logits = genre_targets[:, column], raw_logits[:, column]
        if targets.min() == targets.max():
            continue
        fitted = LogisticRegression(C=_INVERSE_REGULARISATION).fit(logits[:, np.newaxis], targets)
        slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
        if slope <= 0:
            continue
        slopes[column], intercepts[column] = slope, intercept
        if method == "calibrated":
            thresholds[column] = logit(maximise_expected_f1(expit(slope * logits + intercept)))
        else:
            raw_threshold = maximise_f1(targets, logits) if method == "empirical" else 0.0
            thresholds[column] = slope * raw_threshold + intercept
    return Calibration(slopes, intercepts, thresholds)


def cross_validate(genre_targets: NDArray[np.uint8], raw_logits: NDArray[np.float32], method: ThresholdMethod) -> float:
    """Returns the macro-F1 of predictions whose thresholds were found on other films, a fifth of them at a time.

    On the films that `calibrate` was fitted to, it would be too high. A single film is predicted at a raw 0.5.
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
    """Returns the threshold on calibrated probabilities of one genre that maximises its expected F1 score.

    That is half of the maximum (Lipton, Elkan and Naryanaswamy 2014, "Optimal Thresholding of Classifiers to Maximize
    F1 Measure"), which is the largest over k of the score of predicting the k most probable films,
    `2 * sum(p of these) / (k + sum(p of all))`.

    Args:
        probabilities: Probabilities of the films, in [0, 1], not all 0, shape `(num_films,)`.
    """
    descending = np.sort(probabilities.astype(np.float64))[::-1]
    expected_f1 = 2 * np.cumsum(descending) / (np.arange(1, len(descending) + 1) + descending.sum())
    return float(expected_f1.max() / 2)


def maximise_f1(targets: NDArray[np.uint8], scores: NDArray[np.float32]) -> float:
    """Returns the threshold with the highest F1 score of one genre on these films; of several, the lowest.

    It lies halfway between two neighbouring scores; below them all, if predicting the genre everywhere is best.

    Args:
        targets: Targets, 0 or 1, some of each, shape `(num_films,)`.
        scores: Scores, higher where the genre is more probable, same shape.
    """
    candidates, f1 = trace_f1(targets, scores)
    best = int(np.argmax(f1))
    below = candidates[best - 1] if best else candidates[0] - 1
    return float(below + candidates[best]) / 2


def trace_f1(
    targets: NDArray[np.uint8], scores: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Returns the distinct scores, ascending, and the F1 score of predicting the genre from each of them on.

    Args:
        targets: Targets, 0 or 1, some of them 1, shape `(num_films,)`.
        scores: Scores, same shape.
    """
    precision, recall, candidates = precision_recall_curve(targets, scores)
    # The last point has no score: the genre is predicted nowhere.
    f1 = 2 * precision[:-1] * recall[:-1] / np.maximum(precision[:-1] + recall[:-1], np.finfo(float).tiny)
    return candidates, f1
