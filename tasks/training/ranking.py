"""Choose what the genres of a prediction are ranked by."""

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import label_ranking_average_precision_score

from tasks.dataset.task import Dataset
from tasks.outputs.calibration import Calibration
from tasks.outputs.decisions import Order
from tasks.outputs.genres import GenresOutput
from tasks.training.examples import read_examples
from tasks.training.head import build_logits_model, predict
from tasks.training.task import TrainedHead


def choose_order_of_head(dataset: Dataset, trained: TrainedHead, head: keras.Model) -> tuple[Order, dict[Order, float]]:
    """Returns `choose_order` on the validation split.

    Args:
        dataset: Data set with the films.
        trained: The trained head.
        head: The same, as it was read.
    """
    validation = read_examples(dataset, trained.features_folder, "validation", trained.num_views)
    logits = predict(build_logits_model(head), validation.features)[GenresOutput.name]
    return choose_order(validation.genre_targets, logits, trained.calibration)


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
