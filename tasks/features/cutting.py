"""The backbone in two pieces: what stays as it is, whose answers are kept, and the last block, which can be tuned."""

import dataclasses
import math
from pathlib import Path

import keras
import numpy as np

from tasks.features.backbone import Backbone, build_network, fingerprint_network, tap_network

# What the last block and the last convolution get to see, a map of 7 x 7 x 160 numbers. They have 0.9 of the network's
# 2.2 million weights, and take a seventh of its time.
CUT = "block_15_add"


def cut_trunk(backbone: Backbone) -> Backbone:
    """Returns the first piece, as a backbone whose features are what `build_tail` takes.

    These are the map behind `CUT`, flat, and the averages of the taps before it.
    """
    network = backbone.network
    taps = [tap for tap in backbone.taps if _is_before_cut(network, tap)]
    averages = [keras.layers.GlobalAveragePooling2D()(network.get_layer(tap).output) for tap in taps]
    flat = keras.layers.Flatten(name="map")(network.get_layer(CUT).output)
    rows = keras.layers.Concatenate(name="rows")([flat, *averages]) if averages else flat
    return dataclasses.replace(backbone, tapped=keras.Model(network.input, rows, name="trunk"), taps=(CUT, *taps))


def build_tail(backbone: Backbone) -> keras.Model:
    """Returns the second piece: from what the first gives to what `backbone.tapped` does; the weights are shared.

    Its convolutions can be trained. Its normalisations can't, neither scale nor statistics: those of some films would
    replace those of ImageNet.
    """
    network = backbone.network
    cut = network.get_layer(CUT).output
    later = [tap for tap in backbone.taps if not _is_before_cut(network, tap)]
    averages = [keras.layers.GlobalAveragePooling2D()(network.get_layer(tap).output) for tap in later]
    block = keras.Model(cut, [network.output, *averages], name="last_block")
    for layer in block.layers:
        layer.trainable = isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)

    widths = {tap: network.get_layer(tap).output.shape[-1] for tap in backbone.taps}
    size = math.prod(cut.shape[1:])
    rows = keras.Input((size + sum(widths[tap] for tap in backbone.taps if tap not in later),), name="rows")
    last, *of_later = block(keras.layers.Reshape(cut.shape[1:])(rows[:, :size]))
    answers, start = dict(zip(later, of_later, strict=True)), size
    for tap in backbone.taps:
        if tap not in answers:
            answers[tap] = rows[:, start : start + widths[tap]]
            start += widths[tap]
    features = keras.layers.Concatenate()([last, *(answers[tap] for tap in backbone.taps)]) if answers else last
    return keras.Model(rows, features, name="tail")


def _is_before_cut(network: keras.Model, tap: str) -> bool:
    names = [layer.name for layer in network.layers]
    return names.index(tap) < names.index(CUT)


def copy_backbone(backbone: Backbone) -> Backbone:
    """Returns one of the same weights, which can be changed without changing the other's."""
    network = build_network()
    network.set_weights(backbone.network.get_weights())
    return dataclasses.replace(backbone, network=network, tapped=tap_network(network, backbone.taps))


def save_tuned(backbone: Backbone, path: Path) -> None:
    """Writes the weights of a backbone that tuning may have changed, as a `.npz` file."""
    with path.open("wb") as file:
        np.savez(file, **{variable.path: variable.numpy() for variable in build_tail(backbone).trainable_variables})


def load_tuned(backbone: Backbone, path: Path) -> Backbone:
    """Returns a backbone with tuned weights in place of its own; if they differ, source and fingerprint say so."""
    tuned = copy_backbone(backbone)
    weights = np.load(path)
    for variable in build_tail(tuned).trainable_variables:
        variable.assign(weights[variable.path])
    tuned.network.trainable = False
    fingerprint = fingerprint_network(tuned.network)
    source = backbone.source if fingerprint == backbone.fingerprint else f"{backbone.source}, tuned"
    return dataclasses.replace(tuned, source=source, fingerprint=fingerprint)
