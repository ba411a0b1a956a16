"""Streaming metrics for multi-label heads: counts are summed over the epoch, whatever the batch size.

The mean of an F1 score over batches is not the F1 score; these are, and equal scikit-learn's on the whole set.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


class _LabelCounts(keras.metrics.Metric):
    """True positives, false positives and false negatives of each label, for decisions at a threshold."""

    def __init__(self, num_labels: int, threshold: float, name: str) -> None:
        super().__init__(name=name)
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be between 0 and 1. Received: threshold={threshold}")
        self.num_labels = num_labels
        self.threshold = threshold
        self.true_positives = self._add_counts("true_positives")
        self.false_positives = self._add_counts("false_positives")
        self.false_negatives = self._add_counts("false_negatives")

    def _add_counts(self, name: str) -> keras.Variable:
        return self.add_variable(shape=(self.num_labels,), initializer="zeros", name=name)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: None = None) -> None:
        """Adds a batch.

        Args:
            y_true: 0 or 1, shape `(batch_size, num_labels)`.
            y_pred: probabilities, same shape; those strictly greater than the threshold are positive decisions.
            sample_weight: not supported.
        """
        if sample_weight is not None:
            raise ValueError(f"{self.name} counts examples and takes no sample_weight. Received: {sample_weight}")
        y_true = ops.cast(y_true, "float32")
        decisions = ops.cast(ops.convert_to_tensor(y_pred) > self.threshold, "float32")
        self.true_positives.assign_add(ops.sum(y_true * decisions, axis=0))
        self.false_positives.assign_add(ops.sum((1.0 - y_true) * decisions, axis=0))
        self.false_negatives.assign_add(ops.sum(y_true * (1.0 - decisions), axis=0))

    def precision(self) -> keras.KerasTensor:
        """Returns the precision of each label, shape `(num_labels,)`; 0 where nothing was decided positive."""
        return _divide(self.true_positives, self.true_positives + self.false_positives)

    def recall(self) -> keras.KerasTensor:
        """Returns the recall of each label, shape `(num_labels,)`; 0 where no example has the label."""
        return _divide(self.true_positives, self.true_positives + self.false_negatives)

    def f1(self) -> keras.KerasTensor:
        """Returns the F1 score of each label, shape `(num_labels,)`; 0 where there is nothing to find or found."""
        doubled = 2.0 * self.true_positives
        return _divide(doubled, doubled + self.false_positives + self.false_negatives)


def _divide(numerator: Any, denominator: Any) -> Any:
    # Counts are whole numbers: a denominator below one is zero, and so is what is above it.
    return numerator / ops.maximum(denominator, 1.0)


@keras.saving.register_keras_serializable(package="poster_genres")
class MacroF1(_LabelCounts):
    """The mean over labels of the F1 score.

    Args:
        num_labels: how many labels.
        threshold: probabilities strictly greater are positive decisions.
        name: in the logs.
    """

    def __init__(self, num_labels: int, threshold: float = 0.5, name: str = "macro_f1") -> None:
        super().__init__(num_labels, threshold, name)

    def result(self) -> keras.KerasTensor:
        """Returns the score so far, a scalar."""
        return ops.mean(self.f1())

    def get_config(self) -> dict[str, Any]:
        return {"num_labels": self.num_labels, "threshold": self.threshold, "name": self.name}


class _ByLabel(_LabelCounts):
    """A score of each label, under a name in the logs that carries the label: `f1/Drama`."""

    def __init__(self, labels: Sequence[str], threshold: float, name: str) -> None:
        super().__init__(len(labels), threshold, name)
        self.labels = list(labels)

    def _scores(self) -> keras.KerasTensor:
        raise NotImplementedError

    def result(self) -> dict[str, keras.KerasTensor]:
        """Returns the score of each label so far, by `name/label`."""
        scores = ops.unstack(self._scores(), num=len(self.labels))
        return {f"{self.name}/{label}": score for label, score in zip(self.labels, scores, strict=True)}

    def get_config(self) -> dict[str, Any]:
        return {"labels": self.labels, "threshold": self.threshold, "name": self.name}


@keras.saving.register_keras_serializable(package="poster_genres")
class PrecisionByLabel(_ByLabel):
    """The precision of each label; `precision()` gives it as a vector."""

    def __init__(self, labels: Sequence[str], threshold: float = 0.5, name: str = "precision") -> None:
        super().__init__(labels, threshold, name)

    def _scores(self) -> keras.KerasTensor:
        return self.precision()


@keras.saving.register_keras_serializable(package="poster_genres")
class RecallByLabel(_ByLabel):
    """The recall of each label; `recall()` gives it as a vector."""

    def __init__(self, labels: Sequence[str], threshold: float = 0.5, name: str = "recall") -> None:
        super().__init__(labels, threshold, name)

    def _scores(self) -> keras.KerasTensor:
        return self.recall()


@keras.saving.register_keras_serializable(package="poster_genres")
class F1ByLabel(_ByLabel):
    """The F1 score of each label; `f1()` gives it as a vector."""

    def __init__(self, labels: Sequence[str], threshold: float = 0.5, name: str = "f1") -> None:
        super().__init__(labels, threshold, name)

    def _scores(self) -> keras.KerasTensor:
        return self.f1()
