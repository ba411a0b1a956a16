"""A poster with its predicted genres drawn below it, and where the evidence for them is beside it."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tasks.features.pictures import open_picture
from tasks.fonts import load_font
from tasks.inert import for_terminal
from tasks.outputs.calibration import THRESHOLD
from tasks.prediction.explanation import Explanation
from tasks.prediction.predictor import Prediction

# Posters of the catalog are 182 pixels wide, on which no text is legible.
_MIN_WIDTH = 360
# Up to which a small one is enlarged: a picture of one pixel by 60,000 is a poster, too.
_MAX_HEIGHT = 1500
_LINE, _MARGIN, _FONT_SIZE = 28, 10, 18  # in pixels
_MAX_HEAT_MAPS = 3  # those of the first genres
# Evidence, in log-odds, that is drawn as strong; less would draw the noise of a poster that has none.
_STRONG = 0.5
_HEAT = (255, 140, 0)
_BACKGROUND, _TEXT, _MUTED, _BAR = "#17191c", "#ececec", "#b3b3b3", "#27506f"


def annotate(content: bytes, prediction: Prediction, explanation: Explanation | None = None) -> Image.Image:
    """Returns a poster above a line for each predicted genre: a bar of its probability, name and percentage.

    A genre that is named though its confidence is not over 0.5, since none is, is grey. The poster itself is not drawn
    on; a small one is enlarged, a narrow one is in the middle. Heat maps are to its right: the poster in grey, and in
    orange the evidence for a genre.

    Args:
        content: JPEG or PNG file.
        prediction: Its prediction.
        explanation: The evidence for its genres, of which the first three are drawn; None: no heat maps.
    """
    poster = open_picture(content)
    factor = min(_MIN_WIDTH / poster.width, _MAX_HEIGHT / poster.height)
    if factor > 1:
        size = round(poster.width * factor), round(poster.height * factor)
        poster = poster.resize(size, Image.Resampling.LANCZOS)
    if explanation:
        poster.thumbnail((_MAX_HEIGHT, _MAX_HEIGHT))  # a picture of four such is large enough
    maps = list(zip(explanation.labels, explanation.evidence, strict=True))[:_MAX_HEAT_MAPS] if explanation else []
    width = max(poster.width, _MIN_WIDTH)
    lines = list(zip(prediction.labels, prediction.shares, prediction.confidences, strict=True))
    picture = Image.new("RGB", (width * (1 + len(maps)), poster.height + _LINE * len(lines) + 2 * _MARGIN), _BACKGROUND)
    picture.paste(poster, ((width - poster.width) // 2, 0))
    draw, font = ImageDraw.Draw(picture), load_font(_FONT_SIZE)
    left, right = _MARGIN, width - _MARGIN
    for number, (genre, share, confidence) in enumerate(lines):
        top = poster.height + _MARGIN + number * _LINE
        draw.rectangle((left, top + 2, left + share * (right - left), top + _LINE - 3), fill=_BAR)
        color = _TEXT if confidence > THRESHOLD else _MUTED
        middle = top + _LINE / 2
        draw.text((left + 6, middle), for_terminal(genre), fill=color, font=font, anchor="lm")
        draw.text((right - 6, middle), f"{share:.0%}", fill=color, font=font, anchor="rm")
    for number, (genre, evidence) in enumerate(maps, start=1):
        middle = number * width + width // 2
        picture.paste(draw_heat_map(poster, evidence), (middle - poster.width // 2, 0))
        draw.text((middle, poster.height + _MARGIN), for_terminal(genre), fill=_TEXT, font=font, anchor="ma")
    return picture


def draw_heat_map(poster: Image.Image, evidence: NDArray[np.float32]) -> Image.Image:
    """Returns a poster in grey with the evidence for a genre in orange, the stronger the more opaque.

    Args:
        poster: The poster, RGB.
        evidence: Evidence for the genre, shape `(num_rows, num_columns)`; what is against it is not drawn.
    """
    strength = (evidence / max(evidence.max(), _STRONG)).clip(0, 1)
    mask = Image.fromarray((strength * 200).astype(np.uint8)).resize(poster.size, Image.Resampling.BICUBIC)
    grey = poster.convert("L").point(lambda value: value * 0.6).convert("RGB")
    grey.paste(_HEAT, (0, 0, *poster.size), mask)
    return grey
