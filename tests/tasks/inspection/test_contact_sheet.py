import io
from pathlib import Path

import numpy as np
import pandas as pd
from ledger_rows import make_row, write_ledger
from PIL import Image

from tasks.inspection.contact_sheet import CELL, GAP, LABEL_WIDTH, NUM_POSTERS, choose_posters, draw_contact_sheet

GENRES = ["Comedy", "Drama"]


def make_films(targets: dict[int, list[int]]) -> pd.DataFrame:
    return pd.DataFrame(
        {"imdb_id": imdb_id, "sha256": str(imdb_id), "targets": np.array(row, np.uint8)}
        for imdb_id, row in targets.items()
    )


def draw_poster(color: str, size: tuple[int, int] = (182, 268)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "PNG")
    return file.getvalue()


def test_the_choice_is_that_of_hashes_not_of_the_order_of_films() -> None:
    films = make_films({imdb_id: [imdb_id % 2, 1 - imdb_id % 2] for imdb_id in range(100)})
    chosen = choose_posters(films, GENRES)
    assert [len(imdb_ids) for imdb_ids in chosen.values()] == [NUM_POSTERS] * 2
    assert all(imdb_id % 2 == 1 for imdb_id in chosen["Comedy"])
    assert all(imdb_id % 2 == 0 for imdb_id in chosen["Drama"])
    assert chosen["Comedy"] != sorted(chosen["Comedy"])
    assert choose_posters(films.iloc[::-1], GENRES) == chosen
    assert choose_posters(films, GENRES, seed=1) != chosen
    # One film more takes one place at most.
    more = choose_posters(pd.concat([films, make_films({101: [1, 0]})]), GENRES)
    assert len(set(more["Comedy"]) & set(chosen["Comedy"])) >= NUM_POSTERS - 1


def test_an_image_is_shown_again_only_where_a_genre_has_no_others() -> None:
    films = make_films({1: [1, 1], 2: [1, 0], 3: [1, 1], 4: [0, 1], 5: [0, 1]})
    films["sha256"] = ["a", "b", "a", "c", "d"]
    chosen = choose_posters(films, GENRES)
    assert sorted(chosen["Comedy"]) in ([1, 2], [2, 3])
    assert sorted(chosen["Drama"][:2]) == [4, 5]
    assert chosen["Drama"][2:] in ([1], [3])


def test_a_row_has_a_label_and_the_posters_of_its_genre(tmp_path: Path) -> None:
    posters = {1: draw_poster("red"), 2: draw_poster("blue", (900, 300)), 3: None, 4: draw_poster("lime", (20, 30))}
    write_ledger(tmp_path, [make_row(imdb_id, content) for imdb_id, content in posters.items()], num_parts=2)
    chosen = {"Comedy": [1, 3], "A genre with a name that is too long": [2, 4, 1]}
    sheet = draw_contact_sheet(tmp_path, chosen, dict.fromkeys(chosen, 1234))
    width, height = CELL
    assert sheet.size == (LABEL_WIDTH + GAP + 3 * (width + GAP), GAP + 2 * (height + GAP))
    middles = [
        [
            sheet.getpixel(
                (LABEL_WIDTH + GAP + width // 2 + column * (width + GAP), GAP + height // 2 + row * (height + GAP))
            )
            for column in range(3)
        ]
        for row in range(2)
    ]
    background = sheet.getpixel((0, 0))
    assert middles == [[(255, 0, 0), background, background], [(0, 0, 255), (0, 255, 0), (255, 0, 0)]]
    pixels = np.asarray(sheet)[:, : LABEL_WIDTH - GAP]
    for row in range(2):
        label = pixels[GAP + row * (height + GAP) :][:height]
        assert (label != background).any()
        assert (label[:, :GAP] == background).all()
        assert (label[:, -GAP:] == background).all()
