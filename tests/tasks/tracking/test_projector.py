import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from event_logs import read_embedding
from PIL import Image

from tasks.tracking.projector import CELL_SIDE, MAX_FILMS, choose_rows, draw_sprite, render_metadata, write_projector

VECTORS = np.array([[0.6, 0.8], [1, 0], [0, -1]], np.float32)
FILMS = pd.DataFrame({"title": ["One", "Two", "Three"], "genres": ["Comedy", "", "Comedy|War"]})


def make_poster(color: str, size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "PNG")
    return file.getvalue()


POSTERS = [make_poster("red", (200, 300)), make_poster("lime", (300, 100)), make_poster("blue", (40, 60))]


def test_the_projector_finds_vectors_titles_and_posters(tmp_path: Path) -> None:
    write_projector(tmp_path, VECTORS, FILMS, POSTERS)
    embedding = read_embedding(tmp_path)
    assert list(embedding.tensor_shape) == [3, 2]
    np.testing.assert_allclose(np.loadtxt(tmp_path / embedding.tensor_path, delimiter="\t"), VECTORS, rtol=1e-4)
    lines = (tmp_path / embedding.metadata_path).read_text("utf-8").splitlines()
    assert lines == ["title\tgenres", "One\tComedy", "Two\t", "Three\tComedy|War"]
    assert list(embedding.sprite.single_image_dim) == [CELL_SIDE, CELL_SIDE]
    with Image.open(tmp_path / embedding.sprite.image_path) as sprite:
        assert sprite.size == (2 * CELL_SIDE, 2 * CELL_SIDE)


def test_without_posters_there_is_no_picture(tmp_path: Path) -> None:
    write_projector(tmp_path, VECTORS, FILMS, None)
    assert not read_embedding(tmp_path).HasField("sprite")
    assert {path.suffix for path in tmp_path.iterdir()} == {".tsv", ".pbtxt"}


def test_posters_keep_their_shape_in_the_middle_of_a_cell() -> None:
    sprite = draw_sprite(POSTERS)
    half = CELL_SIDE // 2
    middles = [(half, half), (CELL_SIDE + half, half), (half, CELL_SIDE + half), (CELL_SIDE + half, CELL_SIDE + half)]
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
    assert [sprite.getpixel(middle) for middle in middles] == colors
    # 64 of 96 columns, 32 of 96 rows, and 40 x 60 as it is.
    columns = (np.asarray(sprite)[half, :CELL_SIDE] == colors[0]).all(axis=1)
    assert (columns.sum(), columns[16], columns[79]) == (64, True, True)
    rows = (np.asarray(sprite)[:CELL_SIDE, CELL_SIDE + half] == colors[1]).all(axis=1)
    assert (rows.sum(), rows[32], rows[63]) == (32, True, True)
    assert (np.asarray(sprite) == colors[2]).all(axis=2).sum() == 40 * 60


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("A\tB\nC\r\nD", "A B C D"),
        ("A\u2028B\x85C\x0bD", "A B C D"),
        ("\x1b[31mred\x07", "\ufffd[31mred\ufffd"),
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("\t=1", "'=1"),
        ('"Quoted', '"Quoted'),
        ("Amélie", "Amélie"),
    ],
)
def test_a_title_stays_in_its_cell(title: str, expected: str) -> None:
    text = render_metadata(pd.DataFrame({"title": [title, "Next"], "year": [1999, ""]}))
    assert text.splitlines() == ["title\tyear", f"{expected}\t1999", "Next\t"]


def test_the_number_of_films_and_the_picture_are_bounded() -> None:
    assert choose_rows(3).tolist() == [0, 1, 2]
    rows = choose_rows(40_000)
    assert (len(rows), rows[0], rows[-1]) == (MAX_FILMS, 0, 39_999)
    assert len(np.unique(rows)) == MAX_FILMS
    assert np.ceil(np.sqrt(MAX_FILMS)) * CELL_SIDE <= 8192
