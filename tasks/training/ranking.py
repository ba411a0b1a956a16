"""Choose what the genres of a prediction are ranked by."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import label_ranking_average_precision_score

from tasks.outputs.calibration import Calibration
from tasks.outputs.decisions import Order


def choose_order(
    genre_targets: NDArray[np.uint8], logits: NDArray[np.float32], calibration: Calibration
) -> tuple[Order, dict[Order, float]]:
    """Returns whether genres are ranked by calibrated probabilities or by confidences, on films of neither training.

    Confidences are the probabilities over each genre's own threshold, which is lower for a rare genre: they put rare
    genres first. The one with the higher label ranking average precision is taken, the mean over films and their
    genres of how many of the genres ranked as high are right (Tsoumakas, Katakis and Vlahavas 2010, "Mining Multi-label
    Data"); of equal ones the confidences.

    Args:
        genre_targets: Targets of the validation split, 0 or 1, shape `(num_films, num_genres)`.
        logits: Logits of the confidences, same shape.
        calibration: What was folded into them.

    Returns:
        The order, and the average precision of each of the two.
    """
    scores: dict[Order, float] = {
        "confidences": float(label_ranking_average_precision_score(genre_targets, logits)),
        "calibrated": float(label_ranking_average_precision_score(genre_targets, logits + calibration.thresholds)),
    }
    return ("calibrated" if scores["calibrated"] > scores["confidences"] else "confidences"), scores
