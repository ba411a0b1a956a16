"""The layers of a part of a network, one by one or by blocks, with their shapes and parameters."""

import re
from dataclasses import dataclass

import keras

# The names of Keras: the layers of a block of MobileNetV2, and those around the blocks.
_BLOCK = re.compile(r"block_\d+(?=_)|expanded_conv(?=_)|Conv1(?=_|$)|Conv_1(?=_|$)")
_OTHER_NAMES = {"bn_Conv1": "Conv1", "out_relu": "Conv_1"}


@dataclass(frozen=True)
class LayerFigures:
    """A layer, or a block of them.

    Attributes:
        name: Its name.
        kind: Class of the layer; of a block the number of layers.
        shape: Shape of its output without the batch; of several outputs, that of each.
        num_parameters: Number of its weights' values.
    """

    name: str
    kind: str
    shape: str
    num_parameters: int


def list_layers(part: keras.Model) -> list[LayerFigures]:
    """Returns every layer of a part of the network, in its order."""
    return [
        LayerFigures(layer.name, type(layer).__name__, describe_shape(layer.output), layer.count_params())
        for layer in part.layers
    ]


def list_blocks(backbone: keras.Model) -> list[LayerFigures]:
    """Returns the blocks of a backbone, and its layers that are in no block."""
    blocks: dict[str, list[keras.Layer]] = {}
    for layer in backbone.layers:
        blocks.setdefault(name_block(layer.name), []).append(layer)
    return [
        LayerFigures(
            name=name,
            kind=f"{len(layers)} layers" if len(layers) > 1 else type(layers[0]).__name__,
            shape=describe_shape(layers[-1].output),
            num_parameters=sum(layer.count_params() for layer in layers),
        )
        for name, layers in blocks.items()
    ]


def name_block(layer: str) -> str:
    """Returns the name of the block that a layer of the backbone belongs to; its own name if to none."""
    match = _BLOCK.match(layer)
    return match[0] if match else _OTHER_NAMES.get(layer, layer)


def describe_shape(output: object) -> str:
    """Returns the shape of a layer's output without the batch, such as `48 x 32 x 192`."""
    shapes = dict.fromkeys(
        " x ".join(f"{size:,}" for size in tensor.shape[1:]) for tensor in keras.tree.flatten(output)
    )
    return ", ".join(shapes)
