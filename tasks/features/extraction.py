"""Compute the features of images, with the engine that is fastest on this machine."""

import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tasks.features.backbone import Backbone, check_features, compute_probe_features, make_probe_images
from tasks.features.conversion import convert
from tasks.features.litert import LiteRTNetwork
from tasks.features.preprocessing import prepare_poster, prepare_posters
from tasks.settings import FeatureSettings

logger = logging.getLogger(__name__)


class FeatureExtractor(Protocol):
    """Computes the features of images."""

    def __call__(self, images: Sequence[bytes], /) -> NDArray[np.float32]:
        """Returns the features of JPEG or PNG files, shape `(len(images), num_features)`, in the same order.

        Raises:
            tf.errors.InvalidArgumentError: If one of them cannot be decoded.
        """


def make_feature_extractor(backbone: Backbone, settings: FeatureSettings) -> FeatureExtractor:
    """Returns an extractor that runs the backbone by `settings.engine`; `auto`: LiteRT on a CPU, TensorFlow on a GPU.

    Raises:
        BackboneError: If LiteRT's features differ from TensorFlow's by more than 1e-3 on the probe images.
    """
    engine = settings.engine
    if engine == "auto":
        engine = "tensorflow" if tf.config.list_physical_devices("GPU") else "litert"
    if engine == "tensorflow":
        logger.info("features: computed by TensorFlow, %d images at a time", settings.batch_size)
        return lambda images: extract_with_tensorflow(images, backbone=backbone, batch_size=settings.batch_size)
    # TensorFlow is loaded here anyway, and prepares images in less time.
    network = LiteRTNetwork(
        convert(backbone.tapped), prepare=lambda images: prepare_posters(tf.constant(images, tf.string)).numpy()
    )
    difference = check_features(
        network.predict_pixels(make_probe_images()),
        compute_probe_features(backbone.tapped),
        what="LiteRT's features differ from TensorFlow's",
        advice=": continue with --set features.engine=tensorflow, which is slower",
    )
    logger.info("features: computed by LiteRT, which differs from TensorFlow by at most %.1g", difference)
    return network.predict_images


def extract_decodable(
    images: Mapping[str, bytes], extractor: FeatureExtractor
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Extracts the features of the images that can be decoded.

    Args:
        images: Image files by hash.
        extractor: Extractor, which fails for all of them if one can't be decoded.

    Returns:
        The features of the others in their order, and the hashes of the images that can't be decoded.

    Raises:
        tf.errors.OpError: If the extractor fails though all images can be decoded.
    """
    try:
        return extractor(list(images.values())), ()
    except tf.errors.OpError:
        # One by one only now: in a batch, decoding fails for all.
        undecodable = tuple(sha256 for sha256, content in images.items() if not _is_decodable(content))
        if not undecodable:
            raise
    logger.warning("features: %d of %d images can't be decoded", len(undecodable), len(images))
    return extractor([content for sha256, content in images.items() if sha256 not in undecodable]), undecodable


def _is_decodable(content: bytes) -> bool:
    try:
        prepare_posters(tf.constant([content], tf.string))
    except tf.errors.OpError:
        return False
    return True


def extract_with_tensorflow(images: Sequence[bytes], *, backbone: Backbone, batch_size: int) -> NDArray[np.float32]:
    """Computes features by TensorFlow; see `FeatureExtractor`.

    Args:
        images: JPEG or PNG files.
        backbone: Backbone with its taps.
        batch_size: Number of images of a forward pass.
    """
    batches = (
        tf.data.Dataset.from_tensor_slices(tf.constant(images, tf.string))
        .map(prepare_poster, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
        .prefetch(1)  # decodes the next batch during the forward pass; more would only take memory
    )
    features = [backbone.forward(batch).numpy() for batch in batches]
    return np.concatenate(features) if features else np.empty((0, backbone.tapped.output.shape[1]), np.float32)
