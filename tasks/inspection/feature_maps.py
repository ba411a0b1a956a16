"""The maps of an inner layer of the backbone for one poster, as numbers and as a picture."""

import difflib
from collections.abc import Collection
from dataclasses import dataclass

import keras
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tasks.errors import SettingsError
from tasks.features.numpy_preprocessing import prepare_images
from tasks.fonts import load_font
from tasks.inert import for_terminal

MAX_CHANNELS = 64

GAP = 8
_COLUMNS = 8  # of maps
_LONGEST_SIDE = 132  # of a map in the picture, in pixels
_TITLE_HEIGHT, _HEADER_HEIGHT, _BAR_HEIGHT = 16, 72, 14
_BACKGROUND, _TEXT, _MUTED = "#17191c", "#ececec", "#b3b3b3"


@dataclass(frozen=True)
class FeatureMaps:
    """The output of an inner layer for one poster.

    Attributes:
        layer: Name of the layer.
        pixels: The poster as the layer's network has it, float32, 0-255, shape `(height, width, 3)`.
        values: The maps, float32, shape `(map_height, map_width, num_channels)`.
    """

    layer: str
    pixels: NDArray[np.float32]
    values: NDArray[np.float32]

    @property
    def num_channels(self) -> int:
        return int(self.values.shape[-1])

    def rank_channels(self) -> list[int]:
        """Returns the numbers of up to `MAX_CHANNELS` channels, the most active first: by their mean magnitude."""
        activity = np.abs(self.values).mean(axis=(0, 1))
        return [int(channel) for channel in np.argsort(-activity, kind="stable")[:MAX_CHANNELS]]


def check_layer(layer: str, known: Collection[str]) -> None:
    """Raises `SettingsError` for a layer without maps; it names those of similar names."""
    if layer in known:
        return
    similar = difflib.get_close_matches(layer, known, n=3, cutoff=0.4)
    advice = f"did you mean {', '.join(similar)}? " if similar else ""
    raise SettingsError(
        f"no layer {layer!r} with maps in this model: {advice}poster-genres inspect model MODEL --all-layers lists all"
    )


def compute_maps(backbone: keras.Model, layer: str, content: bytes) -> FeatureMaps:
    """Runs the backbone up to a layer on one poster.

    Args:
        backbone: Model from pixels to features.
        layer: Name of a layer with maps, see `check_layer`.
        content: JPEG or PNG file.

    Raises:
        NotAPosterError: The file can't be decoded.
    """
    pixels = prepare_images([content], backbone.input.shape[1:3])
    inner = keras.Model(backbone.input, backbone.get_layer(layer).output)
    return FeatureMaps(layer, pixels[0], np.asarray(inner(pixels, training=False), np.float32)[0])


def draw_maps(maps: FeatureMaps, title: str) -> Image.Image:
    """Draws a poster and beside it its maps, each titled by the number of its channel, in one scale of colours.

    Values from 0 on are drawn from dark to bright; where there are negative ones, they are blue and the others red.

    Args:
        maps: The maps.
        title: Name of the poster.
    """
    channels = maps.rank_channels()
    height, width, num_channels = maps.values.shape
    scale = _LONGEST_SIDE / max(height, width)
    cell_width, cell_height = max(round(width * scale), 1), max(round(height * scale), 1)
    poster = Image.fromarray(maps.pixels.round().clip(0, 255).astype(np.uint8))
    num_columns = min(_COLUMNS, len(channels))
    num_rows = -(-len(channels) // num_columns)
    left, top = poster.width + 3 * GAP, _HEADER_HEIGHT
    size = (
        left + num_columns * (cell_width + GAP) + GAP,
        top + max(num_rows * (cell_height + _TITLE_HEIGHT + GAP), poster.height + 4 * GAP + _BAR_HEIGHT + 16),
    )
    picture = Image.new("RGB", size, _BACKGROUND)
    draw = ImageDraw.Draw(picture)
    draw.text((GAP, 2 * GAP), f"{maps.layer} of {for_terminal(title)}", _TEXT, load_font(18, bold=True))
    shown = f"all {num_channels}" if len(channels) == num_channels else f"{len(channels)} of {num_channels}"
    words = f"{height} x {width} x {num_channels}; {shown} channels, the most active first"
    draw.text((GAP, 2 * GAP + 24), words, _MUTED, load_font(14))
    picture.paste(poster, (GAP, top))
    colors, low, high = _choose_colors(maps.values[..., channels])
    _draw_bar(picture, (GAP, top + poster.height + 2 * GAP, poster.width), colors, low, high)
    for number, channel in enumerate(channels):
        x = left + number % num_columns * (cell_width + GAP)
        y = top + number // num_columns * (cell_height + _TITLE_HEIGHT + GAP)
        draw.text((x, y), str(channel), _MUTED, load_font(12))
        shares = (maps.values[..., channel] - low) / max(high - low, 1e-9)
        pixels = Image.fromarray((colors(shares)[..., :3] * 255).round().astype(np.uint8))
        resampling = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
        picture.paste(pixels.resize((cell_width, cell_height), resampling), (x, y + _TITLE_HEIGHT))
    return picture


def _choose_colors(values: NDArray[np.float32]) -> tuple[matplotlib.colors.Colormap, float, float]:
    """Returns a scale of colours, and the values of its ends; few values lie beyond them."""
    if values.min() < 0:
        limit = float(np.quantile(np.abs(values), 0.998))
        return matplotlib.colormaps["RdBu_r"], -limit, limit
    return matplotlib.colormaps["inferno"], 0.0, float(np.quantile(values, 0.998))


def _draw_bar(
    picture: Image.Image,
    place: tuple[int, int, int],
    colors: matplotlib.colors.Colormap,
    low: float,
    high: float,
) -> None:
    left, top, width = place
    row = (colors(np.linspace(0, 1, width))[np.newaxis, :, :3] * 255).round().astype(np.uint8)
    picture.paste(Image.fromarray(row).resize((width, _BAR_HEIGHT)), (left, top))
    draw, font, below = ImageDraw.Draw(picture), load_font(12), top + _BAR_HEIGHT + 3
    draw.text((left, below), f"{low:.3g}", _MUTED, font)
    draw.text((left + width, below), f"{high:.3g}", _MUTED, font, anchor="ra")
