"""The views of a poster within the exported model, over which its predictions are averaged."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tasks.features.preprocessing import cut_view


class _ViewsLayer(keras.layers.Layer):
    """A layer that knows the number of views."""

    def __init__(self, num_views: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_views = num_views

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_views": self.num_views}


@keras.saving.register_keras_serializable(package="poster_genres")
class CutViews(_ViewsLayer):
    """Pixels of posters to those of their views, one view of all posters after the other.

    From shape `(batch_size, height, width, 3)` to `(num_views * batch_size, height, width, 3)`.
    """

    def call(self, pixels: tf.Tensor) -> tf.Tensor:
        return ops.concatenate([cut_view(pixels, view) for view in range(self.num_views)], axis=0)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (None, *input_shape[1:])


@keras.saving.register_keras_serializable(package="poster_genres")
class AverageViews(_ViewsLayer):
    """Values of views, in the order of `CutViews`, to their averages for each poster.

    From shape `(num_views * batch_size, num_columns)` to `(batch_size, num_columns)`.
    """

    def call(self, values: tf.Tensor) -> tf.Tensor:
        return ops.mean(ops.reshape(values, (self.num_views, -1, values.shape[-1])), axis=0)
