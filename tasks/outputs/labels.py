"""Layers that turn scores into label strings, inside the model."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tasks.outputs.calibration import THRESHOLD
from tasks.outputs.decisions import Order


@keras.saving.register_keras_serializable(package="poster_genres")
class DecidedLabels(keras.layers.Layer):
    """The labels that `tasks.outputs.decisions` decides on for each example, in its order, with their scores.

    Works on the TensorFlow backend, the only one with strings. Of equal scores the label that comes first in `labels`
    comes first.

    Args:
        labels: Names, in the order of the logits.
        thresholds: Thresholds on the calibrated logits, which were folded into the logits, one a label.
        order: What labels are ranked by: `calibrated` or `confidences`.
        top_k: Maximum number of labels of an example; None: no maximum.

    Input: logits of the confidences, shape `(batch_size, len(labels))`, any float type.

    Output: a dict of `labels`, strings, `confidences` and `calibrated`, float32, shape `(batch_size, k)` each, where k
    is `top_k`, or the number of labels if that is less. After an example's labels its row has "" and 0.

    Raises:
        ValueError: `top_k` is under 1, labels repeat, there is another number of thresholds, or the number of logits is
            not that of the labels.

    Example:
        >>> DecidedLabels(["Comedy", "Drama", "Horror"], [0, 0, 0], "confidences")(tf.constant([[1.0, 2.0, -1.0]]))
        {"labels": [[b"Drama", b"Comedy", b""]], "confidences": [[0.88, 0.73, 0]], "calibrated": [[0.88, 0.73, 0]]}
    """

    def __init__(
        self, labels: Sequence[str], thresholds: Sequence[float], order: Order, top_k: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.labels, self.thresholds, self.order, self.top_k = list(labels), list(thresholds), order, top_k
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be at least 1. Received: top_k={top_k}")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels must differ from one another. Received: labels={self.labels}")
        if len(self.thresholds) != len(self.labels):
            raise ValueError(f"expected {len(self.labels)} thresholds. Received: thresholds={self.thresholds}")
        self._width = min(top_k or len(self.labels), len(self.labels))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if input_shape[-1] != len(self.labels):
            raise ValueError(
                f"expected a logit for each of {len(self.labels)} labels. Received: input_shape={input_shape}"
            )

    def call(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = tf.cast(logits, tf.float32)
        confidences, calibrated = tf.sigmoid(logits), tf.sigmoid(logits + tf.constant(self.thresholds, tf.float32))
        ranking = calibrated if self.order == "calibrated" else confidences
        over = confidences > THRESHOLD
        best = tf.one_hot(tf.argmax(ranking, axis=-1), len(self.labels), True, False, dtype=tf.bool)
        decided = over | (best & ~tf.reduce_any(over, axis=-1, keepdims=True))
        ranks, indices = tf.math.top_k(tf.where(decided, ranking, -1.0), k=self._width)

        def select(values: tf.Tensor) -> tf.Tensor:
            return tf.where(ranks >= 0, tf.gather(values, indices, batch_dims=1), 0.0)

        return {
            "labels": tf.where(ranks >= 0, tf.gather(tf.constant(self.labels), indices), ""),
            "confidences": select(confidences),
            "calibrated": select(calibrated),
        }

    def compute_output_spec(self, logits: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
        shape = (*logits.shape[:-1], self._width)
        dtypes = {"labels": "string", "confidences": "float32", "calibrated": "float32"}
        return {name: keras.KerasTensor(shape, dtype=dtype) for name, dtype in dtypes.items()}

    def get_config(self) -> dict[str, Any]:
        own = {"labels": self.labels, "thresholds": self.thresholds, "order": self.order, "top_k": self.top_k}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="poster_genres")
class TopLabels(keras.layers.Layer):
    """The k best labels of each example with their scores, best first: the layer of `classifier.keras` until 0.1.0.

    Works on the TensorFlow backend, the only one with strings. Of equal scores the label that comes first in `labels`
    comes first.

    Args:
        labels: Names, in the order of the scores.
        k: Number of labels to return, at most `len(labels)`.

    Input: scores, shape `(batch_size, len(labels))`, any float type.

    Output: a dict of `labels`, strings of shape `(batch_size, k)`, and `confidences`, float32 of the same shape,
    descending.

    Raises:
        ValueError: `k` is not between 1 and the number of labels, labels repeat, or the number of scores is not that of
            the labels.

    Example:
        >>> TopLabels(["Comedy", "Drama", "Horror"], k=2)(tf.constant([[0.2, 0.9, 0.4]]))["labels"]
        [[b"Drama", b"Horror"]]
    """

    def __init__(self, labels: Sequence[str], k: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.labels = list(labels)
        self.k = k
        if not 1 <= k <= len(self.labels):
            raise ValueError(f"k must be between 1 and the number of labels, {len(self.labels)}. Received: k={k}")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels must differ from one another. Received: labels={self.labels}")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if input_shape[-1] != len(self.labels):
            raise ValueError(
                f"expected a score for each of {len(self.labels)} labels. Received: input_shape={input_shape}"
            )

    def call(self, scores: tf.Tensor) -> dict[str, tf.Tensor]:
        confidences, indices = tf.math.top_k(tf.cast(scores, tf.float32), k=self.k)
        return {"labels": tf.gather(tf.constant(self.labels), indices), "confidences": confidences}

    def compute_output_spec(self, scores: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
        shape = (*scores.shape[:-1], self.k)
        return {
            "labels": keras.KerasTensor(shape, dtype="string"),
            "confidences": keras.KerasTensor(shape, dtype="float32"),
        }

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> dict[str, tuple[int | None, ...]]:
        shape = (*input_shape[:-1], self.k)
        return {"labels": shape, "confidences": shape}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "labels": self.labels, "k": self.k}


@keras.saving.register_keras_serializable(package="poster_genres")
class BestLabel(keras.layers.Layer):
    """The best label of each example with its score, for labels of which exactly one is true.

    Args:
        labels: Names, in the order of the scores.

    Input: scores, shape `(batch_size, len(labels))`, any float type.

    Output: a dict of `label`, strings, and `confidence`, float32, shape `(batch_size,)` each.
    """

    def __init__(self, labels: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.labels = list(labels)

    def call(self, scores: tf.Tensor) -> dict[str, tf.Tensor]:
        label = tf.gather(tf.constant(self.labels), tf.argmax(scores, axis=-1))
        return {"label": label, "confidence": tf.cast(tf.reduce_max(scores, axis=-1), tf.float32)}

    def compute_output_spec(self, scores: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
        shape = scores.shape[:-1]
        return {
            "label": keras.KerasTensor(shape, dtype="string"),
            "confidence": keras.KerasTensor(shape, dtype="float32"),
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "labels": self.labels}
