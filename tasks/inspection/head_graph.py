"""The layers of a head as boxes of a picture: which are side by side, and which feeds which."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import keras

from tasks.inspection.layers import describe_shape
from tasks.training.head import EMBEDDING


@dataclass(frozen=True)
class HeadBox:
    """A layer of the head, or several of one kind beside each other, as those of averaged heads are.

    Attributes:
        name: Name of the first layer.
        num_layers: Number of layers.
        shape: Shape of the output of each, without the batch.
        depth: Number of boxes on the longest way from the features to this one, it included.
        column: Number of its column, from 0: below the box that feeds it, if no other box is there.
        inputs: Names of the boxes that feed it; none for those that the features feed.
        is_trained: Whether it has weights.
    """

    name: str
    num_layers: int
    shape: str
    depth: int
    column: int
    inputs: list[str]
    is_trained: bool

    @property
    def label(self) -> str:
        """What is written in the box."""
        return self.name if self.num_layers == 1 else f"{self.num_layers} x {self.name}"


def list_head_boxes(head: keras.Model) -> list[HeadBox]:
    """Returns the boxes of a head, each after those that feed it.

    Args:
        head: From features to the outputs.
    """
    producers = {id(tensor): layer.name for layer in head.layers for tensor in keras.tree.flatten(layer.output)}
    groups: dict[tuple[object, ...], list[keras.Layer]] = {}
    box_of: dict[str, str] = {}
    boxes: dict[str, HeadBox] = {}
    for layer in head.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        sources = [producers[id(tensor)] for tensor in keras.tree.flatten(layer.input)]
        inputs = list(dict.fromkeys(box_of[source] for source in sources if source in box_of))
        shape = describe_shape(layer.output)
        base = re.sub(r"_\d+$", "", layer.name)
        group = groups.setdefault((base, type(layer), shape, *inputs), [])
        group.append(layer)
        name = box_of[layer.name] = group[0].name
        depth = 1 + max((boxes[source].depth for source in inputs), default=0)
        boxes[name] = HeadBox(name, len(group), shape, depth, 0, inputs, layer.count_params() > 0)
    return _place(sorted(boxes.values(), key=lambda box: (box.depth, box.name == EMBEDDING)))


def _place(boxes: Sequence[HeadBox]) -> list[HeadBox]:
    """Returns boxes with their columns, in the same order."""
    taken: set[tuple[int, int]] = set()
    placed: dict[str, HeadBox] = {}
    for box in boxes:
        column = placed[box.inputs[0]].column if box.inputs else 0
        while (box.depth, column) in taken:
            column += 1
        taken.add((box.depth, column))
        placed[box.name] = replace(box, column=column)
    return list(placed.values())
