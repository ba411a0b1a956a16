import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from ledger_rows import make_row, write_ledger
from PIL import Image

from tasks.report.posters import choose_films, make_thumbnails

GENRES = ["Comedy", "Drama", "War"]


def make_films(rows: Sequence[tuple[Sequence[int], Sequence[float]]]) -> pd.DataFrame:
    """Returns predictions of targets and probabilities; what is over 0.3 is predicted."""
    return pd.DataFrame(
        {
            "imdb_id": number,
            "title": f"Film {number}",
            "targets": np.array(targets, np.uint8),
            "predicted": (np.array(probabilities) > 0.3).astype(np.uint8),
            "probabilities": np.array(probabilities, np.float32),
        }
        for number, (targets, probabilities) in enumerate(rows)
    )


def test_films_are_chosen_by_their_predicted_genres() -> None:
    films = make_films(
        [
            ([1, 1, 0], [0.9, 0.4, 0.1]),
            ([1, 1, 0], [0.2, 0.1, 0.8]),
            ([0, 0, 1], [0.1, 0.2, 0.35]),
            ([0, 0, 0], [0.7, 0.5, 0.1]),
            ([1, 0, 0], [0.6, 0.5, 0.1]),  # neither all right nor all wrong
        ]
    )
    shown = choose_films(films, GENRES)
    by_kind = {kind: [film.imdb_id for film in shown if film.kind == kind] for kind in ("right", "wrong", "unsure")}
    assert by_kind == {"right": [0, 2], "wrong": [1, 3], "unsure": [2, 4, 3, 1, 0]}
    first = shown[0]
    assert (first.title, first.genres) == ("Film 0", ["Comedy", "Drama"])
    assert [genre for genre, _ in first.predicted] == ["Comedy", "Drama"]
    assert [round(probability, 4) for _, probability in first.predicted] == [0.9, 0.4]
    assert next(film for film in shown if film.imdb_id == 3).genres == []


def test_what_is_not_predicted_counts_nowhere() -> None:
    films = make_films([([0, 1, 0], [0.9, 0.4, 0.1])])
    films["predicted"] = [np.array([0, 1, 0], np.uint8)]  # by thresholds of their own
    (right, unsure) = choose_films(films, GENRES)
    assert (right.kind, unsure.kind) == ("right", "unsure")
    assert [genre for genre, _ in right.predicted] == ["Drama"]


def test_a_most_probable_genre_has_three_films_of_a_kind() -> None:
    comedies = [([1, number % 2, 0], [0.9 - number / 100, 0.1, 0.1]) for number in range(9)]
    films = make_films([*comedies, ([0, 1, 0], [0.1, 0.6, 0])])
    right = [film.imdb_id for film in choose_films(films, GENRES) if film.kind == "right"]
    assert right == [0, 1, 2, 9]


def test_thumbnails_are_small_pictures_of_every_mode(tmp_path: Path) -> None:
    contents = []
    for mode, size, kind in (("RGB", (300, 450), "JPEG"), ("P", (400, 100), "PNG"), ("CMYK", (50, 60), "JPEG")):
        file = io.BytesIO()
        Image.new(mode, size, None if mode == "P" else "red").save(file, kind)
        contents.append(file.getvalue())
    write_ledger(tmp_path, [*(make_row(number, content) for number, content in enumerate(contents)), make_row(7, None)])
    thumbnails = make_thumbnails(tmp_path, {0, 1, 2, 7})
    sizes = {}
    for imdb_id, address in thumbnails.items():
        head, _, encoded = address.partition(",")
        assert head == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
            sizes[imdb_id] = (image.mode, image.size)
    # The shape stays; a small picture is not enlarged.
    assert sizes == {0: ("RGB", (120, 180)), 1: ("RGB", (120, 30)), 2: ("RGB", (50, 60))}


def test_a_thumbnail_shows_what_the_model_sees(tmp_path: Path) -> None:
    # 16 bits of grey, of which other decoders make white; an eighth of the way from black to white.
    file = io.BytesIO()
    Image.fromarray(np.full((180, 120), 65535 // 8, np.uint16)).save(file, "PNG")
    write_ledger(tmp_path, [make_row(1, file.getvalue())])
    (address,) = make_thumbnails(tmp_path, {1}).values()
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
        assert image.getpixel((60, 90)) == (31, 31, 31)
