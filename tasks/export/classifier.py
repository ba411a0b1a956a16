"""Put backbone, head and label layer together, and write them as one SavedModel."""

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from tasks.export.labels import TopLabels
from tasks.features.preprocessing import IMAGE_SIZE, NUM_CHANNELS, prepare_posters, resize_pixels
from tasks.training.head import take_logits
from tasks.training.thresholds import Calibration

_CONFIDENCES = "confidences"


def build_classifier(backbone: keras.Model, head: keras.Model, vocabulary: Sequence[str], top_k: int) -> keras.Model:
    """Returns one Keras model: pixels in, label strings and confidences out.

    Its input is float32 pixels of 0-255, resized, shape `(batch_size, 224, 224, 3)`; its output that of `TopLabels`.
    With fewer genres than `top_k` it gives them all.
    """
    pixels = keras.Input((IMAGE_SIZE, IMAGE_SIZE, NUM_CHANNELS), name="pixels")
    logits = take_logits(head)(backbone(pixels, training=False), training=False)
    confidences = keras.layers.Activation("sigmoid", name=_CONFIDENCES)(logits)
    top_labels = TopLabels(vocabulary, min(top_k, len(vocabulary)), name="top_labels")
    return keras.Model(pixels, top_labels(confidences), name="poster_genres")


def build_confidences(classifier: keras.Model) -> keras.Model:
    """Returns a classifier without its label layer: confidences of all genres, shape `(batch_size, num_genres)`."""
    return keras.Model(classifier.input, classifier.get_layer(_CONFIDENCES).output, name=_CONFIDENCES)


def write_saved_model(classifier: keras.Model, calibration: Calibration, folder: Path) -> None:
    """Writes a SavedModel that needs nothing but TensorFlow.

    Args:
        classifier: as `build_classifier` makes it.
        calibration: that was folded into its head.
        folder: to write.

    Signatures, of which the first three give `labels` (string, `[batch, k]`) and `confidences` (float32, `[batch, k]`,
    descending):
      - `serving_default` takes `image_bytes` (string, `[batch]`): JPEG or PNG files;
      - `images` takes `images` (`[batch, height, width, 3]`): pixels of 0-255, as arrays of uint8 or any float type,
        or as tensors of float32;
      - `images_uint8` takes the same as tensors of uint8, since a signature has one type for each of its tensors;
      - `probabilities` takes `image_bytes` and gives of all `genres` (string, `[genres]`) the `confidences`,
        `calibrated` probabilities, which can be taken at their word, and the raw `probabilities` as they were before
        calibration and thresholds were folded in (all float32, `[batch, genres]`).
    """
    # Not keras.export.ExportArchive: Keras 3.15's writes every variable twice, 29 MB in place of 14.
    servable = tf.Module()
    servable.tracked = [variable.value for variable in classifier.variables]

    top_labels = classifier.get_layer("top_labels")
    to_logits = keras.Model(classifier.input, classifier.get_layer(_CONFIDENCES).input)
    # Traced once, and called by every signature: tracing a network takes seconds.
    run = tf.function(
        lambda pixels: to_logits(pixels, training=False),
        input_signature=[tf.TensorSpec([None, IMAGE_SIZE, IMAGE_SIZE, NUM_CHANNELS], tf.float32)],
    )

    def from_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(top_labels(tf.sigmoid(run(prepare_posters(image_bytes)))))

    def all_from_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = run(prepare_posters(image_bytes))
        return {
            "genres": tf.constant(top_labels.labels),
            "confidences": tf.sigmoid(logits),
            "calibrated": tf.sigmoid(logits + calibration.thresholds),
            "probabilities": tf.sigmoid(calibration.unfold(logits)),
        }

    def from_pixels(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(top_labels(tf.sigmoid(run(resize_pixels(images)))))

    any_size = [None, None, None, NUM_CHANNELS]
    signatures = {
        "serving_default": (from_bytes, tf.TensorSpec([None], tf.string, "image_bytes")),
        "images": (from_pixels, tf.TensorSpec(any_size, tf.float32, "images")),
        "images_uint8": (from_pixels, tf.TensorSpec(any_size, tf.uint8, "images")),
        "probabilities": (all_from_bytes, tf.TensorSpec([None], tf.string, "image_bytes")),
    }
    tf.saved_model.save(
        servable,
        str(folder),
        {name: tf.function(answer).get_concrete_function(spec) for name, (answer, spec) in signatures.items()},
    )
