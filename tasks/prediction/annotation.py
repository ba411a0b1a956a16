"""A poster with its predicted genres drawn below it."""

from functools import cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from tasks.features.numpy_preprocessing import decode_image
from tasks.inert import for_terminal
from tasks.outputs.calibration import THRESHOLD
from tasks.prediction.predictor import Prediction

# Posters of the catalog are 182 pixels wide, on which no text is legible.
_MIN_WIDTH = 360
# Up to which a small one is enlarged: a picture of one pixel by 60,000 is a poster, too.
_MAX_HEIGHT = 1500
_FULL_SIZE = (1 << 20, 1 << 20)  # at which no JPEG file is decoded at a fraction of its own
_LINE, _MARGIN, _FONT_SIZE = 28, 10, 18  # in pixels
_BACKGROUND, _TEXT, _MUTED, _BAR = "#17191c", "#ececec", "#b3b3b3", "#27506f"


def annotate(content: bytes, prediction: Prediction) -> Image.Image:
    """Returns a poster above a line for each predicted genre: a bar of its probability, name and percentage.

    A genre that is named though its confidence is not over 0.5, since none is, is grey. The poster itself is not drawn
    on; a small one is enlarged, a narrow one is in the middle.

    Args:
        content: JPEG or PNG file.
        prediction: Its prediction.
    """
    # By the model's own decoder: a person sees what the model saw.
    poster = Image.fromarray(decode_image(content, _FULL_SIZE))
    factor = min(_MIN_WIDTH / poster.width, _MAX_HEIGHT / poster.height)
    if factor > 1:
        size = round(poster.width * factor), round(poster.height * factor)
        poster = poster.resize(size, Image.Resampling.LANCZOS)
    width = max(poster.width, _MIN_WIDTH)
    lines = list(zip(prediction.labels, prediction.shares, prediction.confidences, strict=True))
    picture = Image.new("RGB", (width, poster.height + _LINE * len(lines) + 2 * _MARGIN), _BACKGROUND)
    picture.paste(poster, ((width - poster.width) // 2, 0))
    draw = ImageDraw.Draw(picture)
    left, right = _MARGIN, width - _MARGIN
    for number, (genre, share, confidence) in enumerate(lines):
        top = poster.height + _MARGIN + number * _LINE
        draw.rectangle((left, top + 2, left + share * (right - left), top + _LINE - 3), fill=_BAR)
        color = _TEXT if confidence > THRESHOLD else _MUTED
        middle = top + _LINE / 2
        draw.text((left + 6, middle), for_terminal(genre), fill=color, font=_load_font(), anchor="lm")
        draw.text((right - 6, middle), f"{share:.0%}", fill=color, font=_load_font(), anchor="rm")
    return picture


@cache
def _load_font() -> ImageFont.FreeTypeFont:
    # Pillow's own has Latin letters alone; names of genres are the catalog's.
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", _FONT_SIZE)
