"""Boxes and arrows of a picture, in units of its rows."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

# From Okabe and Ito (2008), distinct for everyone, as light tints below dark text.
FROZEN, PLAIN, TRAINED, OUTPUTS = "#DCEBF5", "#EEEEEE", "#FBE9CF", "#D6EFE7"
TEXT, MUTED = "#1b1b1b", "#555555"
_EDGE = "#7a7a7a"

BOX_HEIGHT = 0.74
FONT_SIZE = 9.5


@dataclass(frozen=True)
class Box:
    """The place of a box; heights grow upwards."""

    left: float
    middle: float
    width: float
    height: float = BOX_HEIGHT

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def centre(self) -> float:
        return self.left + self.width / 2

    @property
    def top(self) -> float:
        return self.middle + self.height / 2

    @property
    def bottom(self) -> float:
        return self.middle - self.height / 2


def draw_box(axes: Axes, box: Box, color: str, name: str = "", shape: str = "") -> Box:
    """Draws a box with a name at its left and a shape at its right, and returns it."""
    corner, style = (box.left, box.bottom), "round,pad=0,rounding_size=0.12"
    patch = FancyBboxPatch(corner, box.width, box.height, style, facecolor=color, edgecolor=_EDGE, linewidth=0.8)
    axes.add_patch(patch)
    axes.text(box.left + 0.25, box.middle, name, fontsize=FONT_SIZE, va="center", color=TEXT)
    axes.text(box.right - 0.25, box.middle, shape, fontsize=FONT_SIZE, va="center", ha="right", color=TEXT)
    return box


def draw_arrow(axes: Axes, *places: tuple[float, float]) -> None:
    """Draws a line through places, with an arrow at the last."""
    *_, start, end = places
    if len(places) > 2:
        axes.plot(*zip(*places[:-1], strict=True), color=_EDGE, linewidth=0.9, solid_capstyle="round")
    arrow = {"arrowstyle": "-|>", "color": _EDGE, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=arrow)


def spread(middles: Sequence[float]) -> list[float]:
    """Moves places upwards so that they are at least a row apart; the lowest stays."""
    places = list(middles)
    order = sorted(range(len(middles)), key=lambda place: (middles[place], -place))
    for below, above in itertools.pairwise(order):
        places[above] = max(places[above], places[below] + 1)
    return places
