"""Compute the features of images, with the engine that is fastest on this machine."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tasks.features.backbone import Backbone, check_features, compute_probe_features, make_probe_images
from tasks.features.conversion import convert
from tasks.features.litert import LiteRTNetwork
from tasks.features.preprocessing import cut_view, prepare_poster, prepare_posters
from tasks.settings import FeatureSettings

logger = logging.getLogger(__name__)


class FeatureExtractor(Protocol):
    """Computes the features of images."""

    def __call__(self, images: Sequence[bytes], views: Sequence[int], /) -> NDArray[np.float32]:
        """Returns the features of JPEG or PNG files, shape `(len(images), len(views), num_features)`, in their order.

        Raises:
            tf.errors.InvalidArgumentError: If one of them cannot be decoded.
        """


def make_feature_extractor(
    backbone: Backbone,
    settings: FeatureSettings,
    on_extracted: Callable[[int], object] = lambda _: None,
    num_cores: int | None = None,
) -> FeatureExtractor:
    """Returns an extractor that runs the backbone by `settings.engine`; `auto`: LiteRT on a CPU, TensorFlow on a GPU.

    Args:
        backbone: Backbone with its taps.
        settings: Settings of the stage.
        on_extracted: Called with the number of images of each batch that is done, by any thread.
        num_cores: Number of cores that LiteRT takes; None: all of this process.

    Raises:
        BackboneError: If LiteRT's features differ from TensorFlow's by more than 1e-3 on the probe images.
    """
    engine = settings.engine
    if engine == "auto":
        engine = "tensorflow" if tf.config.list_physical_devices("GPU") else "litert"
    if engine == "tensorflow":
        logger.info("features: computed by TensorFlow, %d images at a time", settings.batch_size)
        return lambda images, views: extract_with_tensorflow(
            images, views, backbone=backbone, batch_size=settings.batch_size, on_extracted=on_extracted
        )
    network = LiteRTNetwork(convert(backbone.tapped), num_cores)
    difference = check_features(
        network.predict_pixels(make_probe_images(backbone.image_size)),
        compute_probe_features(backbone.tapped),
        what="LiteRT's features differ from TensorFlow's",
        advice=": continue with --set features.engine=tensorflow, which is slower",
    )
    logger.info("features: computed by LiteRT, which differs from TensorFlow by at most %.1g", difference)

    def extract(images: Sequence[bytes], views: Sequence[int]) -> NDArray[np.float32]:
        def extract_batch(batch: Sequence[bytes]) -> NDArray[np.float32]:
            # TensorFlow is loaded here anyway, and prepares images in less time.
            pixels = prepare_posters(tf.constant(batch, tf.string), backbone.image_size)
            features = np.stack([network.predict_pixels(cut_view(pixels, view).numpy()) for view in views], axis=1)
            on_extracted(len(batch))
            return features

        return network.map_batches(extract_batch, images)

    return extract


def extract_decodable(
    images: Mapping[str, bytes], views: Sequence[int], extractor: FeatureExtractor
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Extracts the features of the images that can be decoded.

    Args:
        images: Image files by hash.
        views: Numbers of the views.
        extractor: Extractor, which fails for all of them if one can't be decoded.

    Returns:
        The features of the others in their order, and the hashes of the images that can't be decoded.

    Raises:
        tf.errors.OpError: If the extractor fails though all images can be decoded.
    """
    try:
        return extractor(list(images.values()), views), ()
    except tf.errors.OpError:
        # One by one only now: in a batch, decoding fails for all.
        undecodable = tuple(sha256 for sha256, content in images.items() if not _is_decodable(content))
        if not undecodable:
            raise
    logger.warning("features: %d of %d images can't be decoded", len(undecodable), len(images))
    decodable = [content for sha256, content in images.items() if sha256 not in undecodable]
    return extractor(decodable, views), undecodable


def _is_decodable(content: bytes) -> bool:
    try:
        prepare_posters(tf.constant([content], tf.string))
    except tf.errors.OpError:
        return False
    return True


def extract_with_tensorflow(
    images: Sequence[bytes],
    views: Sequence[int],
    *,
    backbone: Backbone,
    batch_size: int,
    on_extracted: Callable[[int], object] = lambda _: None,
) -> NDArray[np.float32]:
    """Computes features by TensorFlow; see `FeatureExtractor`.

    Args:
        images: JPEG or PNG files.
        views: Numbers of the views.
        backbone: Backbone with its taps.
        batch_size: Number of images of a forward pass.
        on_extracted: Called with the number of images of each batch that is done.
    """
    batches = (
        tf.data.Dataset.from_tensor_slices(tf.constant(images, tf.string))
        .map(lambda file: prepare_poster(file, backbone.image_size), num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
        .prefetch(1)  # decodes the next batch during the forward pass; more would only take memory
    )
    features = []
    for batch in batches:
        features.append(np.stack([backbone.forward(cut_view(batch, view)).numpy() for view in views], axis=1))
        on_extracted(len(features[-1]))
    num_features = backbone.tapped.output.shape[1]
    return np.concatenate(features) if features else np.empty((0, len(views), num_features), np.float32)
