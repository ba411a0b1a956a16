"""Assemble backbone, head and label layers, and write them as one SavedModel."""

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from tasks.export.inputs import blank_failed, prepare_files, prepare_pixels
from tasks.export.warmup import write_warmup_requests
from tasks.features.image_size import IMAGE_SIZE, NUM_CHANNELS
from tasks.outputs.output import Output
from tasks.training.head import EMBEDDING, build_embedding_model, build_logits_model


class Classifier:
    """A whole model: backbone, head, and the layers that turn predictions into names.

    Args:
        backbone: Model from pixels to features.
        head: Model from features to the outputs; calibration folded in.
        outputs: The outputs, genres first, with calibration and rule.
    """

    def __init__(self, backbone: keras.Model, head: keras.Model, outputs: Sequence[Output]) -> None:
        self.outputs = list(outputs)
        pixels = keras.Input((IMAGE_SIZE, IMAGE_SIZE, NUM_CHANNELS), name="pixels")
        features = backbone(pixels, training=False)
        bare_head = keras.Model(head.input, {**build_logits_model(head).output, **build_embedding_model(head).output})
        # From pixels of 0-255, resized, float32, to logits of the genres, embedding, and the other outputs by name.
        self.network = keras.Model(pixels, bare_head(features, training=False), name="network")

    def serve(self, values: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the tensors of `serving_default`, from what the network returns."""
        return {key: tensor for output in self.outputs for key, tensor in output.serve(values[output.name]).items()}

    def serve_all(self, values: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the tensors of the signature `probabilities`, from what the network returns."""
        return {key: tensor for output in self.outputs for key, tensor in output.serve_all(values[output.name]).items()}

    def build_keras_model(self) -> keras.Model:
        """Returns one Keras model: resized pixels of 0-255 in, `(batch_size, 224, 224, 3)`, `serve` out."""
        return keras.Model(self.network.input, self.serve(self.network.output), name="poster_genres")

    @property
    def column_names(self) -> list[str]:
        """The names of the columns of `build_flat_model`: genres, `decade 1990s` and the like, `score`."""
        return [name for output in self.outputs for name in output.column_names]

    def build_flat_model(self) -> keras.Model:
        """Returns a model without strings: pixels in, one row of numbers out, of `column_names`.

        That is the confidence of each genre, the probability of each decade, and the score.
        """
        values = self.network.output
        columns = [output.to_columns(values[output.name]) for output in self.outputs if output.column_names]
        return keras.Model(self.network.input, keras.ops.concatenate(columns, axis=1), name="columns")


def write_saved_model(classifier: Classifier, folder: Path) -> None:
    """Writes a SavedModel that needs only TensorFlow.

    Args:
        classifier: The model.
        folder: Folder to write.

    The batch is the first dimension of every input and output, and may be empty. Signatures, of which the first three
    return the decided genres in the order of the rule (see `tasks.outputs.decisions`) as `labels` (string, `[batch,
    k]`), their `confidences` and `calibrated` probabilities (float32, `[batch, k]`), rows padded with "" and 0, and of
    the outputs that the head has `decade` (string, `[batch]`), `decade_confidence` and `score` (float32, `[batch]`):
      - `serving_default` takes `image_bytes` (string, `[batch]`): JPEG or PNG files;
      - `images` takes `images` (`[batch, height, width, 3]`): pixels of 0-255, as arrays of uint8 or any float type,
        or as tensors of float32; they are resized as those of a JPEG file (see `prepare_pixels`);
      - `images_uint8` takes the same as tensors of uint8, since a signature has one type for each of its tensors;
      - `probabilities` takes `image_bytes` and returns for all `genres` (string) the `confidences`, `calibrated`
        probabilities, and the raw `probabilities` before calibration and thresholds were folded in (float32, all
        `[batch, genres]`); for all `decades` (string) the `decade_probabilities` (float32, both `[batch, decades]`),
        and the `score`, if the head has them;
      - `embedding` takes `image_bytes` and returns the `embedding` (float32, `[batch, size]`), of length 1.

    Those that take `image_bytes` return the `error` of each (string, `[batch]`): "", or why it cannot be decoded; the
    other outputs of that row are "" and 0 then.

    Warm-up requests for TensorFlow Serving are in `assets.extra`.
    """
    # Not keras.export.ExportArchive: Keras 3.15's writes every variable twice, 29 MB instead of 14.
    servable = tf.Module()
    network = classifier.network
    servable.tracked = [variable.value for variable in network.variables]

    # Traced once, and called by every signature: tracing a network takes seconds.
    @tf.function(
        input_signature=[tf.TensorSpec([None, IMAGE_SIZE, IMAGE_SIZE, NUM_CHANNELS], tf.float32)], autograph=False
    )
    def run(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        # oneDNN's fused batch normalisation fails on a batch of 0 where the CPU has AVX-512: an empty batch is run as
        # one blank image, whose row is then dropped.
        batch_size = tf.shape(pixels)[0]
        num_blank = tf.cast(batch_size == 0, tf.int32)
        outputs = network(tf.pad(pixels, [[0, num_blank], [0, 0], [0, 0], [0, 0]]), training=False)
        return {name: values[:batch_size] for name, values in outputs.items()}

    def serve_files(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, errors = prepare_files(image_bytes)
        return blank_failed(classifier.serve(run(pixels)), errors)

    def serve_pixels(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return classifier.serve(run(prepare_pixels(images)))

    def serve_all(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, errors = prepare_files(image_bytes)
        return blank_failed(classifier.serve_all(run(pixels)), errors)

    def embed(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, errors = prepare_files(image_bytes)
        return blank_failed({EMBEDDING: run(pixels)[EMBEDDING]}, errors)

    any_size = [None, None, None, NUM_CHANNELS]
    files = tf.TensorSpec([None], tf.string, "image_bytes")
    signatures = {
        "serving_default": (serve_files, files),
        "images": (serve_pixels, tf.TensorSpec(any_size, tf.float32, "images")),
        "images_uint8": (serve_pixels, tf.TensorSpec(any_size, tf.uint8, "images")),
        "probabilities": (serve_all, files),
        "embedding": (embed, files),
    }
    tf.saved_model.save(
        servable,
        str(folder),
        {
            name: tf.function(serve, autograph=False).get_concrete_function(spec)
            for name, (serve, spec) in signatures.items()
        },
    )
    write_warmup_requests(folder)
