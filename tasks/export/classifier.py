"""Put backbone, head and label layers together, and write them as one SavedModel."""

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from tasks.export.labels import BestLabel, TopLabels
from tasks.features.preprocessing import IMAGE_SIZE, NUM_CHANNELS, prepare_posters, resize_pixels
from tasks.training.head import take_embedding, take_logits
from tasks.training.outputs import DECADE, EMBEDDING, GENRES, SCORE, describe_decade
from tasks.training.thresholds import Calibration


class Classifier:
    """A whole model: backbone, head, and what turns its answers into names.

    Args:
        backbone: from pixels to features.
        head: from features to the outputs; calibration folded in.
        vocabulary: the genres, in the order of the columns.
        decades: first years, in the order of the columns; none, if the head does not tell them.
        top_k: labels to give; all of them, if there are fewer genres.
    """

    def __init__(
        self, backbone: keras.Model, head: keras.Model, vocabulary: Sequence[str], decades: Sequence[int], top_k: int
    ) -> None:
        self.vocabulary = list(vocabulary)
        self.decades = [describe_decade(decade) for decade in decades]
        self._top_labels = TopLabels(self.vocabulary, min(top_k, len(vocabulary)), name="top_labels")
        self._best_decade = BestLabel(self.decades, name="best_decade")
        pixels = keras.Input((IMAGE_SIZE, IMAGE_SIZE, NUM_CHANNELS), name="pixels")
        features = backbone(pixels, training=False)
        bare_head = keras.Model(head.input, {**take_logits(head).output, **take_embedding(head).output})
        # From pixels of 0-255, resized, float32, to logits of the genres, embedding, and the other outputs by name.
        self.network = keras.Model(pixels, bare_head(features, training=False), name="network")

    def name_answers(self, answers: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns names for what the network answers.

        These are `labels` and `confidences` as `TopLabels` gives them; and of the outputs that there are `decade`,
        `decade_confidence` and `score`, shape `(batch_size,)` each.
        """
        named = dict(self._top_labels(keras.ops.sigmoid(answers[GENRES])))
        if DECADE in answers:
            best = self._best_decade(answers[DECADE])
            named |= {"decade": best["label"], "decade_confidence": best["confidence"]}
        if SCORE in answers:
            named["score"] = answers[SCORE][:, 0]
        return named

    def build_keras_model(self) -> keras.Model:
        """Returns one Keras model: resized pixels of 0-255 in, `(batch_size, 224, 224, 3)`, named answers out."""
        return keras.Model(self.network.input, self.name_answers(self.network.output), name="poster_genres")

    @property
    def columns(self) -> list[str]:
        """Names of the columns of `build_flat_model`: genres, `decade 1990s` and the like, `score`."""
        others = [SCORE] if SCORE in self.network.output else []
        return [*self.vocabulary, *(f"{DECADE} {decade}" for decade in self.decades), *others]

    def build_flat_model(self) -> keras.Model:
        """Returns a model without strings: pixels in, one row of numbers out, of `columns`.

        That is the confidence of each genre, the probability of each decade, and the score.
        """
        answers = self.network.output
        parts = [keras.ops.sigmoid(answers[GENRES]), *(answers[name] for name in (DECADE, SCORE) if name in answers)]
        return keras.Model(self.network.input, keras.ops.concatenate(parts, axis=1), name="columns")


def write_saved_model(classifier: Classifier, calibration: Calibration, folder: Path) -> None:
    """Writes a SavedModel that needs nothing but TensorFlow.

    Args:
        classifier: the model.
        calibration: that was folded into its head.
        folder: to write.

    Signatures, of which the first three give what `Classifier.name_answers` says: `labels` (string, `[batch, k]`),
    `confidences` (float32, `[batch, k]`, descending), and of the outputs that the head has `decade` (string,
    `[batch]`), `decade_confidence` and `score` (float32, `[batch]`):
      - `serving_default` takes `image_bytes` (string, `[batch]`): JPEG or PNG files;
      - `images` takes `images` (`[batch, height, width, 3]`): pixels of 0-255, as arrays of uint8 or any float type,
        or as tensors of float32;
      - `images_uint8` takes the same as tensors of uint8, since a signature has one type for each of its tensors;
      - `probabilities` takes `image_bytes` and gives of all `genres` (string, `[genres]`) the `confidences`,
        `calibrated` probabilities, which can be taken at their word, and the raw `probabilities` as they were before
        calibration and thresholds were folded in (all float32, `[batch, genres]`); and of all `decades` (string,
        `[decades]`) the `decade_probabilities` (float32, `[batch, decades]`), and the `score`, if the head has them;
      - `embedding` takes `image_bytes` and gives the `embedding` (float32, `[batch, size]`), of length 1.
    """
    # Not keras.export.ExportArchive: Keras 3.15's writes every variable twice, 29 MB in place of 14.
    servable = tf.Module()
    network = classifier.network
    servable.tracked = [variable.value for variable in network.variables]

    # Traced once, and called by every signature: tracing a network takes seconds.
    @tf.function(input_signature=[tf.TensorSpec([None, IMAGE_SIZE, IMAGE_SIZE, NUM_CHANNELS], tf.float32)])
    def run(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        # oneDNN's fused batch normalisation fails on a batch of 0 where the CPU has AVX-512: an empty batch is run as
        # one blank picture, whose row is then dropped.
        batch_size = tf.shape(pixels)[0]
        num_blank = tf.cast(batch_size == 0, tf.int32)
        outputs = network(tf.pad(pixels, [[0, num_blank], [0, 0], [0, 0], [0, 0]]), training=False)
        return {name: values[:batch_size] for name, values in outputs.items()}

    def from_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return classifier.name_answers(run(prepare_posters(image_bytes)))

    def from_pixels(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return classifier.name_answers(run(resize_pixels(images)))

    def all_from_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        answers = run(prepare_posters(image_bytes))
        logits = answers[GENRES]
        named = {
            "genres": tf.constant(classifier.vocabulary),
            "confidences": tf.sigmoid(logits),
            "calibrated": tf.sigmoid(logits + calibration.thresholds),
            "probabilities": tf.sigmoid(calibration.unfold(logits)),
        }
        if DECADE in answers:
            named |= {"decades": tf.constant(classifier.decades), "decade_probabilities": answers[DECADE]}
        if SCORE in answers:
            named["score"] = answers[SCORE][:, 0]
        return named

    def embed_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return {EMBEDDING: run(prepare_posters(image_bytes))[EMBEDDING]}

    any_size = [None, None, None, NUM_CHANNELS]
    files = tf.TensorSpec([None], tf.string, "image_bytes")
    signatures = {
        "serving_default": (from_bytes, files),
        "images": (from_pixels, tf.TensorSpec(any_size, tf.float32, "images")),
        "images_uint8": (from_pixels, tf.TensorSpec(any_size, tf.uint8, "images")),
        "probabilities": (all_from_bytes, files),
        "embedding": (embed_bytes, files),
    }
    tf.saved_model.save(
        servable,
        str(folder),
        {name: tf.function(answer).get_concrete_function(spec) for name, (answer, spec) in signatures.items()},
    )
