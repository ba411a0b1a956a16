"""The SavedModel's signatures, on batches of every size and on every kind of CPU."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit
from sklearn.preprocessing import normalize

from tasks.export.classifier import Classifier, write_saved_model
from tasks.features.conversion import convert
from tasks.features.image_size import IMAGE_SIZE
from tasks.features.litert import LiteRTNetwork
from tasks.features.preprocessing import cut_view, prepare_posters
from tasks.outputs.calibration import Calibration
from tasks.outputs.decade import DecadeOutput
from tasks.outputs.decisions import DecisionRule
from tasks.outputs.genres import GenresOutput
from tasks.outputs.output import Output
from tasks.outputs.score import ScoreOutput
from tasks.settings import TrainingSettings
from tasks.training.head import build_head
from tasks.training.novelty import NoveltyMeasure

GENRES = ["Comedy", "Drama", "Horror"]

SIZES = (0, 1, 3, 19)
# Calls every signature of models with batches of these sizes, and prints the outputs' shapes; TensorFlow and nothing
# else.
SCRIPT = """
import sys
import numpy as np
import tensorflow as tf

pixels = np.random.default_rng(0).integers(0, 256, (19, 90, 60, 3)).astype(np.uint8)
files = tf.constant([tf.io.encode_png(picture).numpy() for picture in pixels])
for folder in sys.argv[1:]:
    for name, signature in sorted(tf.saved_model.load(folder).signatures.items()):
        for size in (0, 1, 3, 19):
            argument = {"image_bytes": files[:size]}
            if name.startswith("images"):
                argument = {"images": pixels[:size] if name == "images" else tf.constant(pixels[:size])}
            outputs = signature(**argument)
            print(name, size, *(f"{key}{values.shape.as_list()}" for key, values in sorted(outputs.items())))
"""

DECIDED = "calibrated[{0}, 2] confidences[{0}, 2] decade[{0}] decade_confidence[{0}] "
BY_SIGNATURE = {
    "embedding": "embedding[{0}, 4] error[{0}] novelty[{0}]",
    "images": f"{DECIDED}labels[{{0}}, 2] score[{{0}}]",
    "images_uint8": f"{DECIDED}labels[{{0}}, 2] score[{{0}}]",
    "probabilities": "calibrated[{0}, 3] confidences[{0}, 3] decade_probabilities[{0}, 2] decades[{0}, 2] error[{0}] "
    "genres[{0}, 3] probabilities[{0}, 3] score[{0}]",
    "serving_default": f"{DECIDED}error[{{0}}] labels[{{0}}, 2] score[{{0}}]",
}


@keras.saving.register_keras_serializable(package="poster_genres_tests")
class RefuseEmptyAndLargeBatches(keras.layers.Layer):
    """Fails on a batch of 0, as oneDNN's fused batch normalisation does where the CPU has AVX-512, and of more than 8.

    Eight are what a network sees at a time, however many posters a client sends: memory is bounded.
    """

    def call(self, pixels: tf.Tensor) -> tf.Tensor:
        batch_size = tf.shape(pixels)[0]
        checks = [
            tf.debugging.assert_positive(batch_size, "an empty batch"),
            tf.debugging.assert_less_equal(batch_size, 8, "a large batch"),
        ]
        with tf.control_dependencies(checks):
            return tf.identity(pixels)


MODELS = {"whole posters": (IMAGE_SIZE, 1), "three views": ((128, 96), 3)}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def classifiers() -> dict[str, Classifier]:
    return {name: make_classifier(*size_and_views) for name, size_and_views in MODELS.items()}


@pytest.fixture(scope="module")
def classifier(classifiers: dict[str, Classifier], model: str) -> Classifier:
    return classifiers[model]


def make_classifier(size: tuple[int, int], num_views: int) -> Classifier:
    """Returns a small model of all outputs with convolution and batch normalisation, as the backbone has them."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((*size, 3))
    maps = keras.layers.Conv2D(8, 3, strides=16)(RefuseEmptyAndLargeBatches()(pixels))
    maps = keras.layers.ReLU(6.0)(keras.layers.BatchNormalization()(maps))
    backbone = keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(maps))
    zeros = np.zeros(3, np.float32)
    genres = GenresOutput(GENRES, DecisionRule("calibrated", 2), Calibration(zeros + 1, zeros, zeros))
    outputs: list[Output] = [genres, DecadeOutput([1990, 2000]), ScoreOutput(6.0, 1.0)]
    head = build_head(outputs, TrainingSettings(hidden_units=4), 8, None, seed=0)
    kernel = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
    novelty = NoveltyMeasure(kernel, np.array([0.1, -0.2], np.float32), bound=2.0)
    return Classifier(backbone, head, outputs, num_views, novelty)


@pytest.fixture(scope="module")
def saved_models(classifiers: dict[str, Classifier], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("classifiers")
    for name, classifier in classifiers.items():
        write_saved_model(classifier, folder / name)
    return {name: folder / name for name in classifiers}


@pytest.fixture(scope="module")
def saved_model(saved_models: dict[str, Path], model: str) -> Path:
    return saved_models[model]


# oneDNN picks its kernels by the CPU: without it, with it, and as a machine without AVX-512 runs it.
@pytest.mark.parametrize(
    "settings",
    [
        {"TF_ENABLE_ONEDNN_OPTS": "0"},
        {"TF_ENABLE_ONEDNN_OPTS": "1"},
        {"TF_ENABLE_ONEDNN_OPTS": "1", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    ],
    ids=["without oneDNN", "oneDNN", "oneDNN, AVX2"],
)
def test_every_signature_takes_batches_of_any_size(saved_models: dict[str, Path], settings: dict[str, str]) -> None:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **settings}
    command = [sys.executable, "-I", "-c", SCRIPT, *map(str, saved_models.values())]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    expected = [f"{name} {size} {shapes.format(size)}" for name, shapes in BY_SIGNATURE.items() for size in SIZES]
    assert done.stdout.splitlines() == expected * len(saved_models)


def test_broken_pictures_cost_their_own_rows(saved_model: Path) -> None:
    signatures = tf.saved_model.load(str(saved_model)).signatures
    rng = np.random.default_rng(0)
    files = [tf.io.encode_jpeg(rng.integers(0, 256, (90, 60, 3), np.uint8)).numpy() for _ in range(64)]
    whole = np.delete(np.arange(64), [0, 20, 63])
    files[0], files[20], files[63] = b"", files[20][:500], b"GIF89a"
    for name in ("serving_default", "probabilities", "embedding"):
        every = signatures[name](image_bytes=tf.constant(files))
        alone = signatures[name](image_bytes=tf.constant([files[row] for row in whole]))
        errors = every["error"].numpy()
        assert [errors[row] for row in (0, 20, 63)] == [b"empty", b"broken image", b"neither JPEG nor PNG"]
        for key, values in alone.items():
            rows = every[key].numpy()
            if values.dtype == tf.string:
                np.testing.assert_array_equal(rows[whole], values.numpy())
                assert key == "error" or not any(np.delete(rows, whole, axis=0).ravel())
            else:
                np.testing.assert_allclose(rows[whole], values, atol=1e-6)
                assert not np.delete(rows, whole, axis=0).any()
    nothing = signatures["serving_default"](image_bytes=tf.constant([b"x"]))
    assert nothing["labels"].numpy().tolist() == [[b"", b""]]


def test_the_batch_is_the_first_dimension_of_everything(saved_model: Path) -> None:
    signatures = tf.saved_model.load(str(saved_model)).signatures
    assert sorted(signatures) == sorted(BY_SIGNATURE)
    for signature in signatures.values():
        (_, arguments), outputs = signature.structured_input_signature, signature.structured_outputs
        for tensor in [*arguments.values(), *outputs.values()]:
            assert tensor.shape[0] is None
            assert tensor.shape.rank == 1 or all(tensor.shape[1:]) or tensor.name.startswith("images")


def test_every_format_averages_the_views(classifier: Classifier, saved_model: Path) -> None:
    rng = np.random.default_rng(1)
    files = [tf.io.encode_jpeg(rng.integers(0, 256, (268, 182, 3), np.uint8)).numpy() for _ in range(2)]
    pixels = prepare_posters(tf.constant(files), classifier.image_size)
    views = [
        classifier.measuring_network(cut_view(pixels, view), training=False) for view in range(classifier.num_views)
    ]
    expected = {name: np.mean([view[name] for view in views], axis=0) for name in views[0]}
    confidences = expit(expected["genres"])
    assert np.abs(confidences - expit(views[0]["genres"])).max() > (1e-3 if classifier.num_views > 1 else -1)

    signatures = tf.saved_model.load(str(saved_model)).signatures
    served = signatures["probabilities"](image_bytes=tf.constant(files))
    np.testing.assert_allclose(served["confidences"], confidences, atol=1e-5)
    np.testing.assert_allclose(served["decade_probabilities"], expected["decade"], atol=1e-5)
    np.testing.assert_allclose(served["score"], expected["score"].ravel(), atol=1e-4)
    embedded = signatures["embedding"](image_bytes=tf.constant(files))
    np.testing.assert_allclose(embedded["embedding"], normalize(expected["embedding"]), atol=1e-5)
    np.testing.assert_allclose(embedded["novelty"], expected["novelty"].ravel(), atol=1e-5)
    columns = classifier.build_flat_model()(pixels, training=False)
    np.testing.assert_allclose(columns[:, :3], confidences, atol=1e-5)
    lite = LiteRTNetwork(convert(classifier.build_flat_model()))
    np.testing.assert_allclose(lite.predict_images(files), columns, atol=1e-4)
