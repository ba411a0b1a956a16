"""Losses for multi-label heads, on probabilities."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="poster_genres")
class MacroSoftF1(keras.losses.Loss):
    """One minus the F1 score of each label, with probabilities in place of decisions, averaged over the labels.

    For each label over the batch: `tp = sum(y_true * y_pred)`, `fp = sum((1 - y_true) * y_pred)`,
    `fn = sum(y_true * (1 - y_pred))`, `loss = 1 - 2 tp / (2 tp + fp + fn)`. A label that no example of the batch has
    costs 1 and has no gradient. From Maiza, "The Unknown Benefits of using a Soft-F1 Loss in Classification Systems"
    (2019).

    `y_true` and `y_pred` have the shape `(batch_size, num_labels)`; `y_true` is 0 or 1, `y_pred` in [0, 1].

    Example:
        >>> loss = MacroSoftF1()
        >>> float(loss([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 0.5]]))  # (0 + (1 - 1 / 1.5)) / 2
        0.1666...
    """

    def __init__(self, name: str = "macro_soft_f1") -> None:
        # The mean over what call() returns is the mean over labels.
        super().__init__(name=name, reduction="sum_over_batch_size")

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """Returns the loss of each label, shape `(num_labels,)`."""
        y_true = ops.cast(y_true, y_pred.dtype)
        true_positives = ops.sum(y_true * y_pred, axis=0)
        # 2 tp + fp + fn, since tp + fn = sum(y_true) and tp + fp = sum(y_pred).
        total = ops.sum(y_true, axis=0) + ops.sum(y_pred, axis=0)
        return 1.0 - 2.0 * true_positives / ops.maximum(total, keras.config.epsilon())

    def get_config(self) -> dict[str, object]:
        return {"name": self.name}
