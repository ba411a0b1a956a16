"""The contact sheet: a row of posters for each genre, as one picture."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from tasks.features.pictures import make_thumbnail
from tasks.fonts import load_font
from tasks.inert import for_terminal
from tasks.posters.ledger import iterate_posters

NUM_POSTERS = 12  # of a genre

CELL = (120, 180)  # width and height of a poster, in pixels
GAP = 8
LABEL_WIDTH = 190
_FONT_SIZE, _SMALL_FONT_SIZE = 20, 15
_BACKGROUND, _TEXT, _MUTED = "#17191c", "#ececec", "#b3b3b3"


def choose_posters(films: pd.DataFrame, genres: Sequence[str], seed: int = 0) -> dict[str, list[int]]:
    """Chooses films for each genre by hashes of their ids: a random choice that other films change little.

    An image is shown once in a row, and again in another row only if the genre has no others.

    Args:
        films: Films with `imdb_id`, `sha256` of the image, and `targets`.
        genres: Names of the genres, in the order of the targets.
        seed: Seed of the choice.

    Returns:
        Ids of up to `NUM_POSTERS` films by genre.
    """
    targets = np.stack(films["targets"].tolist())
    hashes = [hashlib.blake2b(f"{seed} {imdb_id}".encode()).hexdigest() for imdb_id in films["imdb_id"]]
    shuffled = films.assign(order=hashes)
    shown: set[str] = set()
    chosen = {}
    for column, genre in enumerate(genres):
        row = shuffled[targets[:, column] == 1]
        row = row.assign(is_shown=row["sha256"].isin(shown))
        row = row.sort_values(["is_shown", "order"]).drop_duplicates("sha256").head(NUM_POSTERS)
        shown.update(row["sha256"])
        chosen[genre] = [int(imdb_id) for imdb_id in row["imdb_id"]]
    return chosen


def draw_contact_sheet(posters_dir: Path, chosen: dict[str, list[int]], num_films: dict[str, int]) -> Image.Image:
    """Draws a row of posters for each genre, with its name and its number of films before them.

    Args:
        posters_dir: Folder of the poster parts; a film whose poster is not in it has an empty place.
        chosen: Ids of the films by genre.
        num_films: Number of films of each genre, for the label.

    Raises:
        RepairedError: A file of the posters was damaged.
    """
    wanted = {imdb_id for imdb_ids in chosen.values() for imdb_id in imdb_ids}
    posters = {
        imdb_id: make_thumbnail(content, CELL, Image.Resampling.LANCZOS)
        for imdb_id, content in iterate_posters(posters_dir, wanted)
    }
    width, height = CELL
    num_columns = max((len(imdb_ids) for imdb_ids in chosen.values()), default=0)
    size = LABEL_WIDTH + GAP + num_columns * (width + GAP), GAP + len(chosen) * (height + GAP)
    sheet = Image.new("RGB", size, _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for number, (genre, imdb_ids) in enumerate(chosen.items()):
        top = GAP + number * (height + GAP)
        _draw_label(draw, top + height // 2, genre, num_films[genre])
        for column, imdb_id in enumerate(imdb_ids):
            if poster := posters.get(imdb_id):
                left = LABEL_WIDTH + GAP + column * (width + GAP)
                sheet.paste(poster, (left + (width - poster.width) // 2, top + (height - poster.height) // 2))
    return sheet


def _draw_label(draw: ImageDraw.ImageDraw, middle: int, genre: str, num_films: int) -> None:
    name = for_terminal(genre)
    font = load_font(_FONT_SIZE, bold=True)
    while font.getlength(name) > LABEL_WIDTH - 4 * GAP and len(name) > 2:
        name = f"{name.rstrip('…')[:-1]}…"
    draw.text((2 * GAP, middle - 3), name, fill=_TEXT, font=font, anchor="ls")
    words = f"{num_films:,} films"
    draw.text((2 * GAP, middle + 5), words, fill=_MUTED, font=load_font(_SMALL_FONT_SIZE), anchor="lt")
