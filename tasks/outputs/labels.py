"""Layers that turn scores into label strings, inside the model."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="poster_genres")
class TopLabels(keras.layers.Layer):
    """The k best labels of each example with their scores, best first.

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
