"""The font of pictures that Pillow draws."""

from functools import cache
from pathlib import Path

import matplotlib
from PIL import ImageFont


@cache
def load_font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Returns matplotlib's own font: Pillow's has Latin letters alone, and names of genres are the catalog's.

    Args:
        size: Size in pixels.
        bold: Whether it is bold.
    """
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)
