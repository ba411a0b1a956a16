"""Run posters through the backbone."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tasks.features.backbone import NUM_FEATURES, Backbone
from tasks.features.preprocessing import prepare_poster


def embed_posters(backbone: Backbone, posters: Sequence[bytes], batch_size: int) -> NDArray[np.float32]:
    """Computes the features of posters.

    Args:
        backbone: the network.
        posters: JPEG or PNG bytes.
        batch_size: posters a forward pass.

    Returns:
        Features, shape `(len(posters), 1280)`, in the order of the posters.

    Raises:
        tf.errors.InvalidArgumentError: if one of them is no picture.
    """
    batches = (
        tf.data.Dataset.from_tensor_slices(tf.constant(posters, tf.string))
        .map(prepare_poster, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
        .prefetch(1)  # decodes the next batch beside the forward pass; more would only take memory
    )
    features = [backbone.forward(batch).numpy() for batch in batches]
    return np.concatenate(features) if features else np.empty((0, NUM_FEATURES), np.float32)
