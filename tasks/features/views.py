"""Views of a poster: the whole of it, and crops, which are looked at as closely as the whole.

They are made of the pixels that were resized for the backbone, so that the exported graph makes the same.
"""

import math
from dataclasses import dataclass

from tasks.features.image_size import ImageSize

MAX_VIEWS = 16

_MIN_SCALE, _MAX_SCALE = 0.6, 0.95  # sides of a crop, as fractions of those of the poster


@dataclass(frozen=True)
class Views:
    """Number of views that have features, the first ones always.

    Attributes:
        train: Number of the training films' views, from which a head learns.
        predicted: Number of all films' views, over which predictions are averaged; at most `train`.
    """

    train: int = 1
    predicted: int = 1

    def count(self, split: str) -> int:
        """Returns the number of views of the films of a split."""
        return self.train if split == "train" else self.predicted


WHOLE_POSTERS = Views()

Box = tuple[int, int, int, int]  # top, left, height and width in pixels


def locate_view(view: int, size: ImageSize) -> tuple[Box, bool]:
    """Returns the part of a poster that a view shows, and whether it is mirrored, as every other view is.

    View 0 shows all of it. The sizes and places of the others are those of the Halton sequence (bases 2, 3 and 5, from
    its second number on), so that any number of views is spread evenly: Halton, "Algorithm 247: Radical-inverse
    quasi-random point sequence" (1964). A mirrored crop adds more to the poster than its mirror image does:
    docs/quality.md.

    Args:
        view: Number of the view, from 0.
        size: Height and width of the poster.
    """
    height, width = size
    if view == 0:
        return (0, 0, height, width), False
    scale = _MIN_SCALE + (_MAX_SCALE - _MIN_SCALE) * _invert_digits(view + 1, 2)
    rows, columns = round(height * scale), round(width * scale)
    top = math.floor((height - rows + 1) * _invert_digits(view + 1, 3))
    left = math.floor((width - columns + 1) * _invert_digits(view + 1, 5))
    return (top, left, rows, columns), view % 2 == 1


def _invert_digits(number: int, base: int) -> float:
    """Returns the number whose digits behind the point are those of `number`, from the last to the first; under 1."""
    inverse, digit = 0.0, 1.0
    while number:
        digit /= base
        number, remainder = divmod(number, base)
        inverse += remainder * digit
    return inverse
