"""Draw film posters with four cues of their genres: palette, shapes, light and lettering, all of them unreliable.

A film has up to three genres; each cue is that of one of them, chosen at random, and sometimes that of any genre. So a
genre is often hidden by another, and a model can learn the genres, but not perfectly.
"""

import io
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

WIDTH, HEIGHT = 182, 268  # pixels: the size of the published posters
_CUE_IS_RANDOM = 0.25
_JPEG_QUALITY = 85

Colour = tuple[int, int, int]
Generator = np.random.Generator
Shapes = Callable[[ImageDraw.ImageDraw, Sequence[Colour], Generator], None]


@dataclass(frozen=True)
class Look:
    """Cues of a genre.

    Attributes:
        palette: Colours of the background's top, of the shapes and of the background's bottom.
        shapes: Function that draws the shapes.
        light: Level and contrast of the whole image, as factors.
        lettering: Size and stroke width of the title, in pixels.
    """

    palette: tuple[Colour, Colour, Colour]
    shapes: Shapes
    light: tuple[float, float]
    lettering: tuple[int, int]


def _point(rng: Generator) -> tuple[float, float]:
    return float(rng.uniform(0.1, 0.9) * WIDTH), float(rng.uniform(0.1, 0.75) * HEIGHT)


def _accent(palette: Sequence[Colour], rng: Generator) -> Colour:
    return palette[int(rng.integers(1, 3))]


def _bursts(draw: ImageDraw.ImageDraw, palette: Sequence[Colour], rng: Generator) -> None:
    for _ in range(rng.integers(1, 4)):
        x, y = _point(rng)
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        radii = np.where(np.arange(24) % 2, 12, rng.uniform(25, 60))
        star = np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1)
        draw.polygon([tuple(corner) for corner in star.tolist()], fill=_accent(palette, rng))


def _balloons(draw: ImageDraw.ImageDraw, palette: Sequence[Colour], rng: Generator) -> None:
    for _ in range(rng.integers(4, 10)):
        (x, y), r = _point(rng), float(rng.uniform(8, 24))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=_accent(palette, rng), outline=(40, 40, 40))


def _faces(draw: ImageDraw.ImageDraw, palette: Sequence[Colour], rng: Generator) -> None:
    for _ in range(rng.integers(1, 3)):
        (x, y), r = _point(rng), float(rng.uniform(24, 42))
        draw.ellipse((x - r, y - 1.3 * r, x + r, y + 1.3 * r), fill=palette[1])
        draw.chord((x - 2 * r, y + r, x + 2 * r, y + 4 * r), 180, 360, fill=palette[2])


def _fangs(draw: ImageDraw.ImageDraw, palette: Sequence[Colour], rng: Generator) -> None:
    x = 0.0
    while x < WIDTH:
        width, length = float(rng.uniform(6, 18)), float(rng.uniform(30, 120))
        draw.polygon([(x, 0), (x + width, 0), (x + width / 2, length)], fill=palette[1])
        x += width


def _hearts(draw: ImageDraw.ImageDraw, palette: Sequence[Colour], rng: Generator) -> None:
    for _ in range(rng.integers(1, 5)):
        (x, y), r = _point(rng), float(rng.uniform(10, 24))
        for side in (-1, 1):
            draw.ellipse((x + side * r * 0.9 - r, y - r, x + side * r * 0.9 + r, y + r), fill=palette[1])
        draw.polygon([(x - 1.75 * r, y + r * 0.4), (x + 1.75 * r, y + r * 0.4), (x, y + 2.6 * r)], fill=palette[1])


def _planets(draw: ImageDraw.ImageDraw, palette: Sequence[Colour], rng: Generator) -> None:
    for x, y in rng.uniform((0, 0), (WIDTH, HEIGHT), (60, 2)).tolist():
        draw.point((x, y), fill=(255, 255, 255))
    (x, y), r = _point(rng), float(rng.uniform(18, 44))
    draw.ellipse((x - r, y - r, x + r, y + r), fill=palette[1])
    draw.ellipse((x - 1.8 * r, y - 0.4 * r, x + 1.8 * r, y + 0.4 * r), outline=palette[2], width=3)


def _blobs(draw: ImageDraw.ImageDraw, palette: Sequence[Colour], rng: Generator) -> None:
    for _ in range(rng.integers(2, 5)):
        (x, y), r = _point(rng), float(rng.uniform(16, 34))
        box = (x - r, y - r, x + r, y + r)
        draw.rounded_rectangle(box, r / 2, fill=_accent(palette, rng), outline=(0, 0, 0), width=3)
        for side in (-0.4, 0.4):
            draw.ellipse((x + side * r - 5, y - 8, x + side * r + 5, y + 4), fill=(255, 255, 255), outline=(0, 0, 0))


def _horizon(draw: ImageDraw.ImageDraw, palette: Sequence[Colour], rng: Generator) -> None:
    y, x = float(rng.uniform(0.5, 0.7) * HEIGHT), float(rng.uniform(0.2, 0.8) * WIDTH)
    draw.ellipse((x - 30, y - 30, x + 30, y + 30), fill=palette[2])
    draw.rectangle((0, y, WIDTH, HEIGHT), fill=palette[1])


def _blinds(draw: ImageDraw.ImageDraw, palette: Sequence[Colour], rng: Generator) -> None:
    for y in range(0, HEIGHT, int(rng.integers(14, 26))):
        draw.line((0, y, WIDTH, y + 10), fill=palette[2], width=5)


LOOKS: dict[str, Look] = {
    "Action": Look(((40, 30, 30), (240, 140, 30), (250, 210, 70)), _bursts, (1.0, 1.4), (30, 3)),
    "Animation": Look(((90, 200, 90), (240, 60, 60), (60, 90, 240)), _blobs, (1.15, 1.2), (28, 2)),
    "Comedy": Look(((250, 225, 80), (60, 200, 220), (240, 110, 60)), _balloons, (1.2, 1.0), (26, 1)),
    "Drama": Look(((120, 105, 90), (190, 160, 130), (80, 75, 85)), _faces, (0.9, 0.7), (16, 0)),
    "Film-Noir": Look(((30, 30, 30), (110, 110, 110), (190, 190, 190)), _blinds, (0.7, 1.5), (20, 0)),
    "Horror": Look(((20, 12, 14), (160, 15, 20), (90, 90, 80)), _fangs, (0.6, 1.2), (24, 1)),
    "Romance": Look(((245, 200, 205), (225, 70, 110), (255, 240, 230)), _hearts, (1.1, 0.8), (20, 0)),
    "Sci-Fi": Look(((15, 25, 60), (50, 150, 190), (150, 230, 240)), _planets, (0.85, 1.2), (18, 1)),
    "Western": Look(((225, 170, 100), (150, 90, 50), (250, 220, 140)), _horizon, (1.0, 0.9), (22, 2)),
}


def draw_poster(title: str, genres: Sequence[str], rng: Generator) -> bytes:
    """Draws a poster.

    Args:
        title: Title of the film, drawn at the foot.
        genres: Genres of the film, names in `LOOKS`.
        rng: Random generator; the same state draws the same poster.

    Returns:
        JPEG bytes, `WIDTH` x `HEIGHT` pixels.
    """

    def choose_look() -> Look:
        names = list(LOOKS) if rng.random() < _CUE_IS_RANDOM else list(genres)
        return LOOKS[names[rng.integers(len(names))]]

    palette = [_jitter(colour, rng) for colour in choose_look().palette]
    image = Image.fromarray(_gradient(palette[0], palette[2], rng))
    draw = ImageDraw.Draw(image)
    choose_look().shapes(draw, palette, rng)
    if len(genres) > 1:
        choose_look().shapes(draw, [_jitter(colour, rng) for colour in choose_look().palette], rng)
    _letter(image, title, choose_look().lettering, palette[1])
    level, contrast = choose_look().light
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.2))), np.float64)
    pixels = (pixels - 128) * contrast * rng.uniform(0.85, 1.15) + 128 * level + rng.normal(0, 12, pixels.shape)
    out = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=_JPEG_QUALITY)
    return out.getvalue()


def _jitter(colour: Colour, rng: Generator) -> Colour:
    red, green, blue = np.clip(np.add(colour, rng.normal(0, 18, 3)), 0, 255).astype(int).tolist()
    return red, green, blue


def _gradient(top: Colour, bottom: Colour, rng: Generator) -> NDArray[np.uint8]:
    share = np.linspace(0, rng.uniform(0.2, 0.7), HEIGHT)[:, None, None]
    rows = (1 - share) * np.array(top) + share * np.array(bottom)
    return np.broadcast_to(rows, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def _letter(image: Image.Image, title: str, lettering: tuple[int, int], colour: Colour) -> None:
    size, width = lettering
    draw = ImageDraw.Draw(image)
    # A band of inverted colours keeps the title legible on any image.
    band = (0, int(HEIGHT * 0.82), WIDTH, HEIGHT)
    image.paste(ImageChops.invert(image.crop(band).filter(ImageFilter.GaussianBlur(12))), band)
    # Pillow's own font, the only one available everywhere, has no accented letters.
    lettered = unicodedata.normalize("NFKD", title.rsplit(" (", 1)[0]).encode("ascii", "ignore").decode()
    draw.text(
        (WIDTH / 2, HEIGHT * 0.91),
        lettered,
        anchor="mm",
        font=ImageFont.load_default(size),
        fill=colour,
        stroke_width=width,
        stroke_fill=(20, 20, 20),
    )
