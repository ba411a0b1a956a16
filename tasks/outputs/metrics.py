"""Streaming metrics by label: counts are summed over the epoch, whatever the batch size.

The mean of a score over batches is not the score; these equal scikit-learn's on the whole set. Macro-F1 and F1 are
`keras.metrics.F1Score`; of precision and recall Keras has none that gives every label.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tasks.outputs.calibration import THRESHOLD


def make_macro_f1(num_labels: int, threshold: float = THRESHOLD) -> keras.metrics.F1Score:
    """Returns the mean over labels of the F1 score; probabilities over the threshold are positive predictions."""
    metric = keras.metrics.F1Score(average="macro", threshold=threshold, name="macro_f1")
    return _build(metric, num_labels)


def _build(metric: keras.metrics.F1Score, num_labels: int) -> keras.metrics.F1Score:
    # It makes its variables at the first update, which would be inside a graph.
    metric.update_state(ops.zeros((1, num_labels)), ops.zeros((1, num_labels)))
    metric.reset_state()
    return metric


def _name_labels(name: str, labels: Sequence[str], scores: Any) -> dict[str, keras.KerasTensor]:
    return {f"{name}/{label}": score for label, score in zip(labels, ops.unstack(scores, len(labels)), strict=True)}


@keras.saving.register_keras_serializable(package="poster_genres")
class F1ByLabel(keras.metrics.F1Score):
    """The F1 score of each label, 0 where it is undefined, by the label's name in the logs: `f1/Drama`.

    Args:
        labels: Names of the labels, in the order of the columns.
        threshold: Probabilities strictly greater are positive predictions.
        name: First part of the names in the logs.
    """

    def __init__(self, labels: Sequence[str], threshold: float = THRESHOLD, name: str = "f1") -> None:
        super().__init__(average=None, threshold=threshold, name=name)
        self.labels = list(labels)
        _build(self, len(self.labels))

    def result(self) -> dict[str, keras.KerasTensor]:
        """Returns the score of each label so far, by `name/label`."""
        return _name_labels(self.name, self.labels, super().result())

    def get_config(self) -> dict[str, Any]:
        return {"labels": self.labels, "threshold": self.threshold, "name": self.name}


class _RatioByLabel(keras.metrics.Metric):
    """True positives of each label over another count, 0 where that is 0.

    Args:
        labels: Names of the labels, in the order of the columns.
        threshold: Probabilities strictly greater are positive predictions; in [0, 1].
        name: First part of the names in the logs.
    """

    def __init__(self, labels: Sequence[str], threshold: float, name: str) -> None:
        super().__init__(name=name)
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be between 0 and 1. Received: threshold={threshold}")
        self.labels = list(labels)
        self.threshold = threshold
        self.true_positives, self.total = (
            self.add_variable(shape=(len(self.labels),), initializer="zeros", name=count)
            for count in ("true_positives", "total")
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: None = None) -> None:
        """Adds a batch.

        Args:
            y_true: 0 or 1, shape `(batch_size, num_labels)`.
            y_pred: Probabilities, same shape.
            sample_weight: Not supported.
        """
        if sample_weight is not None:
            raise ValueError(f"{self.name} counts examples and takes no sample_weight. Received: {sample_weight}")
        y_true = ops.cast(y_true, "float32")
        positives = ops.cast(ops.convert_to_tensor(y_pred) > self.threshold, "float32")
        self.true_positives.assign_add(ops.sum(y_true * positives, axis=0))
        self.total.assign_add(ops.sum(self._select_total(y_true, positives), axis=0))

    def _select_total(self, y_true: Any, positives: Any) -> Any:
        raise NotImplementedError

    def result(self) -> dict[str, keras.KerasTensor]:
        """Returns the score of each label so far, by `name/label`."""
        # Counts are whole numbers: a total below one is zero, and so are its true positives.
        return _name_labels(self.name, self.labels, self.true_positives / ops.maximum(self.total, 1.0))

    def get_config(self) -> dict[str, Any]:
        return {"labels": self.labels, "threshold": self.threshold, "name": self.name}


@keras.saving.register_keras_serializable(package="poster_genres")
class PrecisionByLabel(_RatioByLabel):
    """The precision of each label: its true positives among what was predicted positive."""

    def __init__(self, labels: Sequence[str], threshold: float = THRESHOLD, name: str = "precision") -> None:
        super().__init__(labels, threshold, name)

    def _select_total(self, y_true: Any, positives: Any) -> Any:
        return positives


@keras.saving.register_keras_serializable(package="poster_genres")
class RecallByLabel(_RatioByLabel):
    """The recall of each label: its true positives among the examples that have it."""

    def __init__(self, labels: Sequence[str], threshold: float = THRESHOLD, name: str = "recall") -> None:
        super().__init__(labels, threshold, name)

    def _select_total(self, y_true: Any, positives: Any) -> Any:
        return y_true
