"""Assemble backbone, head and label layers, and write them as one SavedModel."""

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from tasks.export.inputs import blank_failed, prepare_files, prepare_pixels
from tasks.export.views import AverageViews, CutViews
from tasks.export.warmup import write_warmup_requests
from tasks.features.image_size import NUM_CHANNELS, ImageSize
from tasks.features.preprocessing import cut_view
from tasks.outputs.output import Output
from tasks.training.head import EMBEDDING, build_embedding_model, build_logits_model
from tasks.training.novelty import NOVELTY, NoveltyMeasure

# Posters that a SavedModel looks at together. At 384 x 256 all 64 of a batch at once took 3.1 GB, and up to a quarter
# more time; pieces take 1.3 GB.
_POSTERS_AT_ONCE = 8


class Classifier:
    """A whole model: backbone, head, and the layers that turn predictions into names.

    Args:
        backbone: Model from pixels to features.
        head: Model from features to the outputs; calibration folded in.
        outputs: The outputs, genres first, with calibration and rule.
        num_views: Number of views over which predictions are averaged.
        novelty: Measure of how unlike the training posters an image is; None: the model has none.
    """

    def __init__(
        self,
        backbone: keras.Model,
        head: keras.Model,
        outputs: Sequence[Output],
        num_views: int = 1,
        novelty: NoveltyMeasure | None = None,
    ) -> None:
        self.outputs = list(outputs)
        pixels = keras.Input(backbone.input.shape[1:], name="pixels")
        features = backbone(pixels, training=False)
        bare_head = keras.Model(head.input, {**build_logits_model(head).output, **build_embedding_model(head).output})
        values = bare_head(features, training=False)
        # From pixels of 0-255, resized, float32, to logits of the genres, embedding, and the other outputs by name.
        self.network = keras.Model(pixels, values, name="network")
        # The same with the novelty, which the SavedModel alone has.
        self.measuring_network = self.network
        if novelty:
            self.measuring_network = keras.Model(pixels, {**values, NOVELTY: novelty.build(features)})
        self.num_views = num_views

    def run(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns what the measuring network returns, averaged over the views; one of them is in memory at a time."""
        network = self.measuring_network
        if self.num_views == 1:
            return dict(network(pixels, training=False))
        views = tf.stack([cut_view(pixels, view) for view in range(self.num_views)])
        specs = {name: tf.TensorSpec(values.shape, values.dtype) for name, values in network.output.items()}
        outputs = tf.map_fn(
            lambda view: network(view, training=False), views, parallel_iterations=1, fn_output_signature=specs
        )
        return _normalise({name: tf.reduce_mean(values, axis=0) for name, values in outputs.items()})

    def build_averaged_network(self) -> keras.Model:
        """Returns the network averaged over the views as a Keras model, which looks at all views at once."""
        if self.num_views == 1:
            return self.network
        pixels = keras.Input(self.network.input.shape[1:], name="pixels")
        outputs = self.network(CutViews(self.num_views)(pixels), training=False)
        averages = {name: AverageViews(self.num_views)(values) for name, values in outputs.items()}
        return keras.Model(pixels, _normalise(averages), name="averaged_network")

    @property
    def image_size(self) -> ImageSize:
        """Height and width of the network's input."""
        height, width = self.network.input.shape[1:3]
        return height, width

    def serve(self, values: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the tensors of `serving_default`, from what the network returns."""
        return {key: tensor for output in self.outputs for key, tensor in output.serve(values[output.name]).items()}

    def serve_all(self, values: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the tensors of the signature `probabilities`, from what the network returns."""
        return {key: tensor for output in self.outputs for key, tensor in output.serve_all(values[output.name]).items()}

    def build_keras_model(self) -> keras.Model:
        """Returns one Keras model: resized pixels of 0-255 in, `(batch_size, *image_size, 3)`, `serve` out."""
        network = self.build_averaged_network()
        return keras.Model(network.input, self.serve(network.output), name="poster_genres")

    @property
    def column_names(self) -> list[str]:
        """The names of the columns of `build_flat_model`: genres, `decade 1990s` and the like, `score`."""
        return [name for output in self.outputs for name in output.column_names]

    def build_flat_model(self) -> keras.Model:
        """Returns a model without strings: pixels in, one row of numbers out, of `column_names`.

        That is the confidence of each genre, the probability of each decade, and the score.
        """
        network = self.build_averaged_network()
        columns = [output.to_columns(network.output[output.name]) for output in self.outputs if output.column_names]
        return keras.Model(network.input, keras.ops.concatenate(columns, axis=1), name="columns")


def _normalise(averages: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns averages of which the embeddings have the length 1 again."""
    return {**averages, EMBEDDING: keras.layers.UnitNormalization()(averages[EMBEDDING])}


def _run_in_pieces(classifier: Classifier, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns what `Classifier.run` returns, some posters at a time; the batch is not empty."""
    num_pieces = -(-tf.shape(pixels)[0] // _POSTERS_AT_ONCE)
    arrays = {
        # Not tf.map_fn, which wants pieces of one size: the last one would be filled up, that of a single poster, too.
        name: tf.TensorArray(values.dtype, num_pieces, infer_shape=False, element_shape=values.shape)
        for name, values in classifier.measuring_network.output.items()
    }

    def run_piece(piece: tf.Tensor, arrays: dict[str, tf.TensorArray]) -> tuple[tf.Tensor, dict[str, tf.TensorArray]]:
        outputs = classifier.run(pixels[piece * _POSTERS_AT_ONCE : (piece + 1) * _POSTERS_AT_ONCE])
        return piece + 1, {name: array.write(piece, outputs[name]) for name, array in arrays.items()}

    # One after the other: side by side they would take the memory of the whole batch.
    _, arrays = tf.while_loop(lambda piece, _: piece < num_pieces, run_piece, (0, arrays), parallel_iterations=1)
    return {name: array.concat() for name, array in arrays.items()}


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
      - `embedding` takes `image_bytes` and returns the `embedding` (float32, `[batch, size]`), of length 1, and if the
        classifier measures it the `novelty` (float32, `[batch]`), over 1 for what is unlike the training posters.

    Those that take `image_bytes` return the `error` of each (string, `[batch]`): "", or why it cannot be decoded; the
    other outputs of that row are "" and 0 then.

    Warm-up requests for TensorFlow Serving are in `assets.extra`.
    """
    # Not keras.export.ExportArchive: Keras 3.15's writes every variable twice, 29 MB instead of 14.
    servable = tf.Module()
    servable.tracked = [variable.value for variable in classifier.measuring_network.variables]

    # Traced once, and called by every signature: tracing a network takes seconds.
    @tf.function(
        input_signature=[tf.TensorSpec([None, *classifier.image_size, NUM_CHANNELS], tf.float32)], autograph=False
    )
    def run(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        # oneDNN's fused batch normalisation fails on a batch of 0 where the CPU has AVX-512: an empty batch is run as
        # one blank image, whose row is then dropped.
        batch_size = tf.shape(pixels)[0]
        num_blank = tf.cast(batch_size == 0, tf.int32)
        outputs = _run_in_pieces(classifier, tf.pad(pixels, [[0, num_blank], [0, 0], [0, 0], [0, 0]]))
        return {name: values[:batch_size] for name, values in outputs.items()}

    def serve_files(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, errors = prepare_files(image_bytes, classifier.image_size)
        return blank_failed(classifier.serve(run(pixels)), errors)

    def serve_pixels(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return classifier.serve(run(prepare_pixels(images, classifier.image_size)))

    def serve_all(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, errors = prepare_files(image_bytes, classifier.image_size)
        return blank_failed(classifier.serve_all(run(pixels)), errors)

    def embed(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, errors = prepare_files(image_bytes, classifier.image_size)
        values = run(pixels)
        novelty = {NOVELTY: values[NOVELTY][:, 0]} if NOVELTY in values else {}
        return blank_failed({EMBEDDING: values[EMBEDDING], **novelty}, errors)

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
