"""Run posters through the backbone, by the engine that is fastest here."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tasks.features.backbone import Backbone, check_features, embed_probes, probe_pictures
from tasks.features.litert import LiteRTNetwork, convert
from tasks.features.preprocessing import prepare_poster
from tasks.settings import FeatureSettings

logger = logging.getLogger(__name__)

# From JPEG or PNG files to features, shape `(len(posters), num_features)`, in the order of the posters. Raises
# `tf.errors.InvalidArgumentError` if one of them is no picture.
Embedder = Callable[[Sequence[bytes]], NDArray[np.float32]]


def make_embedder(backbone: Backbone, settings: FeatureSettings) -> Embedder:
    """Returns what computes features: LiteRT on a CPU, TensorFlow on a GPU, unless the settings say which.

    Raises:
        BackboneError: if LiteRT gives other features than TensorFlow, by more than 1e-3 on the probe pictures.
    """
    engine = settings.engine
    if engine == "auto":
        engine = "tensorflow" if tf.config.list_physical_devices("GPU") else "litert"
    if engine == "tensorflow":
        logger.info("features: by TensorFlow, %d posters at a time", settings.batch_size)
        return lambda posters: embed_with_tensorflow(backbone, posters, settings.batch_size)
    network = LiteRTNetwork(convert(backbone.tapped))
    difference = check_features(
        network.run_pixels(probe_pictures()),
        embed_probes(backbone.tapped),
        "LiteRT gives features that differ from TensorFlow's",
        ": go on with --set features.engine=tensorflow, which is slower",
    )
    logger.info("features: by LiteRT, which differs from TensorFlow by at most %.1g", difference)
    return network.run_posters


def embed_with_tensorflow(backbone: Backbone, posters: Sequence[bytes], batch_size: int) -> NDArray[np.float32]:
    """Computes features by TensorFlow itself: an `Embedder`, but for its other arguments.

    Args:
        backbone: the network.
        posters: JPEG or PNG files.
        batch_size: posters a forward pass.
    """
    batches = (
        tf.data.Dataset.from_tensor_slices(tf.constant(posters, tf.string))
        .map(prepare_poster, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
        .prefetch(1)  # decodes the next batch beside the forward pass; more would only take memory
    )
    features = [backbone.forward(batch).numpy() for batch in batches]
    return np.concatenate(features) if features else np.empty((0, backbone.tapped.output.shape[1]), np.float32)
