import shutil
from pathlib import Path

import pytest

from tasks.errors import RegistryError
from tasks.inspection.network import Network, Tap, open_network
from tasks.model_folder import ModelFolder

# Of MobileNetV2 0.35: 16 channels of Conv1; six times 16 of block 5, and six times 32 of block 12, are expanded to.
TAPS = [
    Tap("block_6_expand_relu", "mean", (12, 8), 96),
    Tap("block_6_expand_relu", "std", (12, 8), 96),
    Tap("block_13_expand_relu", "mean", (6, 4), 192),
]
NUM_FEATURES = 1280 + 96 + 96 + 192


def test_parts_of_a_model_with_taps_views_and_all_outputs(tapped: Network) -> None:
    assert (tapped.image_size, tapped.num_views) == ((96, 64), 2)
    assert tapped.list_taps() == TAPS
    assert tapped.backbone.output.shape[1] == NUM_FEATURES
    assert tapped.outputs == {
        "labels": 3, "confidences": 3, "calibrated": 3, "decade": 1, "decade_confidence": 1, "score": 1,
    }  # fmt: skip
    # Two hidden layers of 4, and of these 8 to 3 genres, 2 decades and a score.
    assert tapped.num_trained == 2 * (NUM_FEATURES * 4 + 4) + (8 * 3 + 3) + (8 * 2 + 2) + (8 + 1)
    assert tapped.num_parameters == tapped.num_trained + tapped.backbone.count_params()


def test_parts_of_a_model_of_the_last_layer_alone(plain: Network) -> None:
    assert (plain.image_size, plain.num_views, plain.list_taps()) == ((96, 64), 1, [])
    assert plain.outputs == {"labels": 3, "confidences": 3, "calibrated": 3}
    assert plain.num_trained == (1280 * 4 + 4) + (4 * 3 + 3)


def test_layers_with_maps(tapped: Network) -> None:
    maps = tapped.maps
    assert maps["Conv1_relu"] == (48, 32, 16)
    assert maps["out_relu"] == (3, 2, 1280)
    assert not {"features", "global_average_pooling2d", "hidden"} & set(maps)


def test_what_can_not_be_inspected_is_said_in_one_line(tapped_model: ModelFolder, tmp_path: Path) -> None:
    model = ModelFolder(tmp_path / "model")
    shutil.copytree(tapped_model.path, model.path)
    content = model.keras_path.read_bytes()
    model.keras_path.write_bytes(content[:-1])
    with pytest.raises(RegistryError, match=r"classifier.keras .*pull the model again"):
        open_network(model)
    model.keras_path.write_bytes(b"no zip file")
    model.write_manifest({"id": "model"})
    with pytest.raises(RegistryError, match=r"classifier.keras can't be loaded by Keras 3\S+: .*publish the model"):
        open_network(model)
    model.keras_path.unlink()
    model.write_manifest({"id": "model"})
    with pytest.raises(RegistryError, match=r"has no classifier.keras"):
        open_network(model)
