"""The picture of a network: its blocks as boxes, the taps as arrows to the features, the head and its outputs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tasks.inspection.boxes import (
    BOX_HEIGHT,
    FONT_SIZE,
    FROZEN,
    MUTED,
    OUTPUTS,
    PLAIN,
    TEXT,
    TRAINED,
    Box,
    draw_arrow,
    draw_box,
    spread,
)
from tasks.inspection.head_graph import HeadBox, list_head_boxes
from tasks.inspection.layers import list_blocks, name_block
from tasks.inspection.network import Network
from tasks.training.head import EMBEDDING

_DPI = 130
_INCHES = (0.54, 0.42)  # width and height of a unit: a row of the backbone is one unit high
_LONGEST_TITLE = 80  # characters

_LAST = "out_relu"  # its averages are always features

_BACKBONE_WIDTH, _FEATURES_WIDTH, _BAR_WIDTH, _HEAD_WIDTH = 6.0, 3.8, 0.9, 4.9
_BEND = _BACKBONE_WIDTH + 1.3  # where an arrow to another row ends its slope
_FEATURES_LEFT = _BACKBONE_WIDTH + 6.0
_BAR_LEFT = _FEATURES_LEFT + _FEATURES_WIDTH + 1.0
_HEAD_LEFT = _BAR_LEFT + _BAR_WIDTH + 1.3
_HEAD_GAP, _HEAD_ROW = 0.5, 1.7


def draw_network(network: Network, title: str) -> Figure:
    """Draws the network, from the poster at the top left to the outputs at the right.

    Args:
        network: The network.
        title: Name of the model.
    """
    head = list_head_boxes(network.head)
    right = _HEAD_LEFT + (1 + max(box.column for box in head)) * (_HEAD_WIDTH + _HEAD_GAP) - _HEAD_GAP
    figure = Figure(dpi=_DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    blocks = _draw_backbone(axes, network)
    bar = _draw_features(axes, network, blocks, _measure_head(network, head))
    _draw_outputs(axes, network, _draw_head(axes, head, bar))
    top = max(bar.top, BOX_HEIGHT / 2) + 1.0
    _draw_title(axes, network, title, (right, top))
    bottom = min(box.bottom for box in blocks.values()) - 0.4
    size = right + 0.6, top + 1.4 - bottom
    axes.set(xlim=(-0.3, right + 0.3), ylim=(bottom, top + 1.4))
    figure.set_size_inches(size[0] * _INCHES[0], size[1] * _INCHES[1])
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG."""
    figure.savefig(path, format="png", dpi=_DPI)


def _draw_title(axes: Axes, network: Network, title: str, place: tuple[float, float]) -> None:
    right, middle = place
    shown = title if len(title) <= _LONGEST_TITLE else f"{title[:_LONGEST_TITLE]}…"
    axes.text(0, middle + 0.8, shown, fontsize=13, weight="bold", va="center", color=TEXT)
    frozen = network.num_parameters - network.num_trained
    words = f"{network.num_parameters:,} parameters: {frozen:,} frozen, {network.num_trained:,} trained"
    axes.text(0, middle, words, fontsize=FONT_SIZE, color=MUTED, va="center")
    for name, color in (("outputs", OUTPUTS), ("trained", TRAINED), ("without weights", PLAIN), ("frozen", FROZEN)):
        right -= 1.8 + 0.18 * len(name)
        draw_box(axes, Box(right, middle, 0.7, 0.5), color)
        axes.text(right + 0.95, middle, name, fontsize=FONT_SIZE, va="center", color=TEXT)


def _draw_backbone(axes: Axes, network: Network) -> dict[str, Box]:
    """Draws the blocks from the top down, and returns them by name."""
    height, width = network.image_size
    views = f"{network.num_views} views of a poster" if network.num_views > 1 else "poster"
    before = draw_box(axes, Box(0, 0, _BACKBONE_WIDTH), PLAIN, views, f"{height} x {width} x 3")
    boxes = {}
    for row, block in enumerate((block for block in list_blocks(network.backbone) if block.num_parameters), start=1):
        box = draw_box(axes, Box(0, -row, _BACKBONE_WIDTH), FROZEN, block.name, block.shape)
        draw_arrow(axes, (box.centre, before.bottom), (box.centre, box.top))
        before = boxes[block.name] = box
    return boxes


def _measure_head(network: Network, head: Sequence[HeadBox]) -> float:
    """Returns the height of the head, of the decisions and of the outputs."""
    return (1 + max(box.depth for box in head)) * _HEAD_ROW + len(network.outputs) * BOX_HEIGHT


def _draw_features(axes: Axes, network: Network, blocks: Mapping[str, Box], min_height: float) -> Box:
    """Draws the average of the last layer and the taps, and returns the bar of all features."""
    statistics: dict[str, list[str]] = {}
    for tap in network.list_taps():
        statistics.setdefault(tap.layer, []).append(tap.statistic)
    statistics.setdefault(_LAST, []).insert(0, "mean")
    rows = [blocks[name_block(layer)].middle for layer in statistics]
    middles = spread(rows)
    bottom = min(middles) - BOX_HEIGHT / 2
    top = max(max(middles) + BOX_HEIGHT / 2, bottom + min_height)
    bar = draw_box(axes, Box(_BAR_LEFT, (top + bottom) / 2, _BAR_WIDTH, top - bottom), PLAIN)
    words = f"{network.backbone.output.shape[1]:,} features"
    axes.text(bar.centre, bar.middle, words, rotation=90, ha="center", va="center", fontsize=10, color=TEXT)
    for (layer, names), row, middle in zip(statistics.items(), rows, middles, strict=True):
        *_, num_channels = network.maps[layer]
        times = f"{len(names)} x " if len(names) > 1 else ""
        place = Box(_FEATURES_LEFT, middle, _FEATURES_WIDTH)
        box = draw_box(axes, place, PLAIN, ", ".join(names), f"{times}{num_channels:,}")
        bend = [(_BEND, middle)] if middle != row else []
        draw_arrow(axes, (_BACKBONE_WIDTH, row), *bend, (box.left, middle))
        draw_arrow(axes, (box.right, middle), (bar.left, middle))
        shape = " x ".join(f"{size:,}" for size in network.maps[layer])
        axes.text(box.left - 0.4, middle + 0.13, layer, fontsize=8.5, ha="right", va="bottom", color=TEXT)
        axes.text(box.left - 0.4, middle - 0.13, shape, fontsize=8, ha="right", va="top", color=MUTED)
    return bar


def _draw_head(axes: Axes, head: Sequence[HeadBox], bar: Box) -> list[Box]:
    """Draws the layers of the head from the top down, and returns the boxes that the classifier's outputs are of."""
    drawn: dict[str, Box] = {}
    for layer in head:
        left = _HEAD_LEFT + layer.column * (_HEAD_WIDTH + _HEAD_GAP)
        place = Box(left, bar.top - BOX_HEIGHT / 2 - (layer.depth - 1) * _HEAD_ROW, _HEAD_WIDTH)
        color = OUTPUTS if layer.name == EMBEDDING else TRAINED if layer.is_trained else PLAIN
        box = drawn[layer.name] = draw_box(axes, place, color, layer.label, layer.shape)
        for name in layer.inputs:
            draw_arrow(axes, (drawn[name].centre, drawn[name].bottom), (box.centre, box.top))
        if not layer.inputs:
            draw_arrow(axes, (bar.right, box.middle), (box.left, box.middle))
    # The embedding is an output of the SavedModel alone.
    used = {EMBEDDING, *(name for layer in head for name in layer.inputs)}
    return [drawn[layer.name] for layer in head if layer.name not in used]


def _draw_outputs(axes: Axes, network: Network, sources: Sequence[Box]) -> None:
    """Draws the decisions, below all boxes that they are made of, and the outputs."""
    views = f"average of {network.num_views} views, " if network.num_views > 1 else ""
    middle = min(box.middle for box in sources) - _HEAD_ROW
    place = Box(_HEAD_LEFT, middle, max(box.right for box in sources) - _HEAD_LEFT)
    decisions = draw_box(axes, place, PLAIN, f"{views}decisions")
    for source in sources:
        draw_arrow(axes, (source.centre, source.bottom), (source.centre, decisions.top))
    for number, (name, num_columns) in enumerate(network.outputs.items()):
        place = Box(_HEAD_LEFT, middle - _HEAD_ROW - number * BOX_HEIGHT, _HEAD_WIDTH)
        box = draw_box(axes, place, OUTPUTS, name, f"{num_columns} column{'s' * (num_columns != 1)}")
        if number == 0:
            draw_arrow(axes, (box.centre, decisions.bottom), (box.centre, box.top))
