"""The embeddings of films for TensorBoard's projector: vectors, titles and genres, and posters as one picture."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from tensorboard.plugins import projector

from tasks.features.pictures import make_thumbnail
from tasks.inert import for_csv, for_terminal

# More points than that are slow to arrange. Their posters are in 32 rows and columns, 3,072 pixels each way, while
# browsers show no texture of more than 8,192.
MAX_FILMS = 1000
CELL_SIDE = 96  # pixels; the projector draws a cell as a square, whatever its shape

VECTORS, METADATA, SPRITE = "vectors.tsv", "metadata.tsv", "sprite.jpg"
_QUALITY = 80


def choose_rows(num_films: int) -> NDArray[np.int64]:
    """Returns the rows of at most `MAX_FILMS` films, evenly spaced."""
    return np.linspace(0, num_films - 1, min(num_films, MAX_FILMS)).astype(np.int64)


def write_projector(
    folder: Path, vectors: NDArray[np.float32], films: pd.DataFrame, posters: Sequence[bytes] | None
) -> None:
    """Writes vectors, their description and `projector_config.pbtxt`, which TensorBoard looks for beside its logs.

    Args:
        folder: Folder of the logs; it exists.
        vectors: Embeddings, shape `(num_films, size)`.
        films: A row for each of them; the columns are what the projector labels and colours the points by.
        posters: JPEG or PNG file of each of them; None: the points have no pictures.
    """
    np.savetxt(folder / VECTORS, vectors, fmt="%.5g", delimiter="\t")
    (folder / METADATA).write_text(render_metadata(films), "utf-8")
    config = projector.ProjectorConfig()
    embedding = config.embeddings.add(
        tensor_name="posters", tensor_path=VECTORS, tensor_shape=vectors.shape, metadata_path=METADATA
    )
    if posters is not None:
        draw_sprite(posters).save(folder / SPRITE, "JPEG", quality=_QUALITY)
        embedding.sprite.image_path = SPRITE
        embedding.sprite.single_image_dim.extend([CELL_SIDE, CELL_SIDE])
    projector.visualize_embeddings(str(folder), config)


def render_metadata(films: pd.DataFrame) -> str:
    """Returns a table as tab-separated values, with a header; other people's text is inert in it, and in one line."""
    rows = [films.columns.tolist(), *films.to_numpy(object).tolist()]
    return "".join("\t".join(_render_cell(value) for value in row) + "\n" for row in rows)


def _render_cell(value: object) -> str:
    # There are no quotes in this format: a tab or a line break would move the cells of all films that follow.
    return str(for_csv(for_terminal(" ".join(str(value).split()))))


def draw_sprite(posters: Sequence[bytes]) -> Image.Image:
    """Returns one picture of small posters, row by row, each in the middle of its white cell."""
    num_columns = math.ceil(math.sqrt(len(posters)))
    num_rows = math.ceil(len(posters) / num_columns)
    sheet = Image.new("RGB", (num_columns * CELL_SIDE, num_rows * CELL_SIDE), "white")
    for number, content in enumerate(posters):
        row, column = divmod(number, num_columns)
        small = make_thumbnail(content, (CELL_SIDE, CELL_SIDE))
        margin = (CELL_SIDE - small.width) // 2, (CELL_SIDE - small.height) // 2
        sheet.paste(small, (column * CELL_SIDE + margin[0], row * CELL_SIDE + margin[1]))
    return sheet
