"""The scores of a model on the test split as TensorBoard logs: scalars, and precision-recall curves."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from tensorboard.plugins.pr_curve import summary

# Of a genre. Those that training measures in each epoch have the same names there, so that they share a chart.
_SCORES = ("f1", "precision", "recall", "threshold", "calibration_error")


def write_test_scores(folder: Path, metrics: Mapping[str, Any], predictions: pd.DataFrame, step: int) -> None:
    """Writes a model's scores, and a precision-recall curve of each genre that has test films.

    Args:
        folder: Folder of the logs.
        metrics: Content of the model's `metrics.json`.
        predictions: Predictions of the test films, as `tasks.evaluation.predictions.write_predictions` writes them.
        step: Epoch of the model, at which the scores lie beside the learning curves.
    """
    targets, probabilities = (np.stack(predictions[name].tolist()) for name in ("targets", "probabilities"))
    with tf.summary.create_file_writer(str(folder)).as_default(step):
        for name, value in list_scores(metrics, targets, probabilities):
            tf.summary.scalar(name, value)
        for column, genre in enumerate(metrics["vocabulary"]):
            if targets[:, column].any():
                curve = summary.pb(genre, targets[:, column] == 1, probabilities[:, column])
                tf.summary.experimental.write_raw_pb(curve.SerializeToString())


def list_scores(
    metrics: Mapping[str, Any], targets: NDArray[np.uint8], probabilities: NDArray[np.float32]
) -> Iterator[tuple[str, float]]:
    """Yields the names and values of a model's scores, such as `macro_f1`, `f1/Drama` and `average_precision/Drama`.

    Args:
        metrics: Content of the model's `metrics.json`.
        targets: Targets of the test films, 0 or 1, shape `(num_films, num_genres)`.
        probabilities: Calibrated probabilities, same shape.
    """
    model = metrics["model"]
    for name in ("macro_f1", "micro_f1"):
        yield name, model[name]
    for column, genre in enumerate(metrics["vocabulary"]):
        scores = model["genres"][genre]
        for name in _SCORES:
            yield f"{name}/{genre}", scores[name]
        if targets[:, column].any():  # otherwise it has none
            value = average_precision_score(targets[:, column], probabilities[:, column])
            yield f"average_precision/{genre}", float(value)
