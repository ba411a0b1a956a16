"""Run a published SavedModel, with TensorFlow: its embeddings, and predictions where there is no LiteRT model."""

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tasks.outputs.output import Output, find_output_classes
from tasks.posters.images import NotAPosterError
from tasks.prediction.predictor import PredictColumns

logger = logging.getLogger(__name__)


def open_saved_model(folder: Path) -> tuple[list[Output], PredictColumns]:
    """Returns the outputs of a SavedModel, and the function that computes their columns."""
    logger.info("no classifier.tflite beside %s: predicting with TensorFlow, which is slower", folder)

    def predict_columns(images: Sequence[bytes]) -> NDArray[np.float32]:
        return np.column_stack([columns for _, columns in _find_outputs(_call(folder, "probabilities", images))])

    # Not an empty batch, on which models of earlier versions fail where the CPU has AVX-512.
    blank = bytes(tf.io.encode_png(tf.zeros([1, 1, 3], tf.uint8)).numpy())
    outputs = [output for output, _ in _find_outputs(_call(folder, "probabilities", [blank]))]
    return outputs, predict_columns


@dataclass(frozen=True)
class Embedded:
    """The signature `embedding` of some images.

    Attributes:
        embeddings: Float32, of length 1, shape `(num_images, size)`.
        novelty: Float32, shape `(num_images,)`: over 1 for what is unlike the training posters; None of a model of an
            earlier version.
    """

    embeddings: NDArray[np.float32]
    novelty: NDArray[np.float32] | None


def embed_images(folder: Path, images: Sequence[bytes]) -> Embedded:
    """Returns the embeddings of a SavedModel, and how unlike the training posters the images are."""
    served = _call(folder, "embedding", images)
    return Embedded(np.asarray(served["embedding"], np.float32), served.get("novelty"))


@functools.lru_cache(maxsize=1)
def load_saved_model(folder: Path) -> Any:
    """Returns the SavedModel of a folder; the last one is kept."""
    return tf.saved_model.load(str(folder))


def _call(folder: Path, signature: str, images: Sequence[bytes]) -> Mapping[str, NDArray[Any]]:
    try:
        tensors = load_saved_model(folder).signatures[signature](image_bytes=tf.constant(images, tf.string))
    except tf.errors.InvalidArgumentError as error:
        raise NotAPosterError("broken image") from error
    served = {name: tensor.numpy() for name, tensor in tensors.items()}
    # A model of an earlier version raises instead.
    for reason in served.pop("error", ()):
        if reason:
            raise NotAPosterError(reason.decode())
    return served


def _find_outputs(served: Mapping[str, NDArray[Any]]) -> list[tuple[Output, NDArray[np.float32]]]:
    found = [output.from_served(served) for output in find_output_classes()]
    return [output for output in found if output]
