"""How far served predictions are from the expected ones of the same posters."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.outputs.calibration import THRESHOLD
from tasks.outputs.decisions import DecisionRule


def compare_labels(
    labels: Sequence[Sequence[str]],
    confidences: Sequence[Sequence[float]],
    expected: NDArray[np.float32],
    names: Sequence[str],
) -> float:
    """Returns the largest difference between the k best labels of posters and the expected ones.

    That is of each label's confidence from the one expected for it, and of the k confidences from the k highest
    expected. (Two labels that are nearly equal may be in either order.)

    Args:
        labels: The best k of each poster.
        confidences: Confidences of the labels.
        expected: Confidences of all labels, shape `(num_posters, len(names))`.
        names: All labels, in the order of the columns.
    """
    columns = {name: column for column, name in enumerate(names)}
    served = np.array(confidences)
    chosen = np.array([[columns[label] for label in row] for row in labels])
    expected_of_labels = np.take_along_axis(expected, chosen, axis=1)
    highest = -np.sort(-expected, axis=1)[:, : served.shape[1]]
    return float(np.maximum(np.abs(served - expected_of_labels), np.abs(served - highest)).max())


def compare_decisions(
    served: Mapping[str, Sequence[Any]],
    confidences: NDArray[np.float32],
    calibrated: NDArray[np.float32],
    genres: Sequence[str],
    rule: DecisionRule,
) -> float:
    """Returns the largest difference between served genres and the expected ones.

    That is, over the served genres, of confidence and calibrated probability from the ones expected for them, and of
    what they are ranked by from that of the expected order; and for a genre that is only served, or only expected, how
    far it is from the other decision. (Nearly equal genres may be in either order, and one near 0.5 on either side.)

    Args:
        served: `labels`, `confidences` and `calibrated` of `serving_default` as lists, a row a poster, padded with "".
        confidences: Expected confidences of all genres, shape `(num_posters, len(genres))`.
        calibrated: Expected calibrated probabilities, same shape.
        genres: Names, in the order of the columns.
        rule: The rule of the decision.
    """
    columns = {name: column for column, name in enumerate(genres)}
    decisions, ranking = rule.decide(confidences, calibrated), rule.rank(confidences, calibrated)
    differences = [0.0]
    for row, labels in enumerate(served["labels"]):
        chosen = [columns[label] for label in labels if label]
        for name, expected in (("confidences", confidences), ("calibrated", calibrated)):
            padded = np.zeros(len(labels))
            padded[: len(chosen)] = expected[row, chosen]
            differences += np.abs(np.array(served[name][row]) - padded).tolist()
        differences += np.abs(ranking[row, chosen] + np.sort(-ranking[row, chosen])).tolist()
        expected_columns = np.flatnonzero(decisions[row]).tolist()
        only = [set(chosen) - set(expected_columns), set(expected_columns) - set(chosen)]
        for some, others in (only, only[::-1]):
            for column in some:
                gaps = [abs(float(ranking[row, column] - ranking[row, other])) for other in others]
                differences.append(min([abs(float(confidences[row, column]) - THRESHOLD), *gaps]))
    # NumPy's maximum: that of Python would hide a NaN.
    return float(np.max(differences))
