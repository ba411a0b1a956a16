import io

import numpy as np
import pytest
from PIL import Image

from tasks.prediction.annotation import annotate, draw_heat_map
from tasks.prediction.explanation import Explanation
from tasks.prediction.predictor import Prediction


def make_poster(size: tuple[int, int], mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, "red").save(file, "JPEG")
    return file.getvalue()


def test_a_line_for_each_genre_whose_bar_is_its_probability() -> None:
    picture = annotate(make_poster((500, 600)), Prediction(["Comedy", "Комедия"], [0.9, 0.6], [0.75, 0.25]))
    assert picture.size == (500, 600 + 2 * 28 + 20)
    pixels = np.asarray(picture)
    np.testing.assert_allclose(pixels[:600].reshape(-1, 3).mean(axis=0), [254, 0, 0], atol=1)  # the poster, untouched
    for line, share in enumerate((0.75, 0.25)):
        # Below the text's letters the bar alone is seen, between margins of 10 pixels.
        row = pixels[600 + 10 + line * 28 + 24]
        is_bar = (row == (0x27, 0x50, 0x6F)).all(axis=1)
        assert is_bar.sum() == pytest.approx(share * 480, abs=2)
        text = pixels[600 + 10 + line * 28 + 4 : 600 + 10 + line * 28 + 24]
        assert (text == (0xEC, 0xEC, 0xEC)).all(axis=2).sum() > 50


def test_small_posters_are_enlarged_and_of_any_mode() -> None:
    picture = annotate(make_poster((182, 268), "CMYK"), Prediction(["Drama"], [0.4], [0.2]))
    assert (picture.mode, picture.size) == ("RGB", (360, 530 + 28 + 20))
    # Named though it is not over 0.5: grey.
    assert (np.asarray(picture)[530:] == (0xB3, 0xB3, 0xB3)).all(axis=2).any()


def test_a_narrow_picture_is_bounded() -> None:
    picture = annotate(make_poster((1, 20_000)), Prediction(["Drama"], [0.9], [0.8]))
    assert picture.size == (360, 20_000 + 28 + 20)
    assert annotate(make_poster((10, 300)), Prediction(["Drama"], [0.9], [0.8])).size == (360, 1500 + 28 + 20)


def test_a_model_without_calibration_shows_confidences() -> None:
    picture = annotate(make_poster((400, 400)), Prediction(["Drama"], [0.5]))
    is_bar = (np.asarray(picture)[400 + 10 + 24] == (0x27, 0x50, 0x6F)).all(axis=1)
    assert is_bar.sum() == pytest.approx(190, abs=2)


def test_heat_maps_of_the_first_three_genres_are_beside_the_poster() -> None:
    labels = ["Comedy", "Drama", "Horror", "Western"]
    evidence = np.zeros((4, 9, 6), np.float32)
    evidence[0, :, 3:] = 2.0
    prediction = Prediction(labels, [0.9] * 4, [0.8] * 4)
    picture = annotate(make_poster((600, 900)), prediction, Explanation(labels, evidence))
    assert picture.size == (4 * 600, 900 + 4 * 28 + 20)
    first, second = np.asarray(picture)[450, 600:1200], np.asarray(picture)[450, 1200:1800]
    assert (first[500] - first[100].astype(int)).tolist() == pytest.approx([165, 75, -35], abs=2)  # of 200 in 255
    assert (second == second[0]).all()  # grey alone


def test_weak_evidence_is_drawn_as_weak_and_what_is_against_a_genre_not_at_all() -> None:
    poster = Image.new("RGB", (60, 90), (100, 100, 100))

    def measure_red(evidence: float) -> int:
        return int(np.asarray(draw_heat_map(poster, np.full((9, 6), evidence, np.float32)))[45, 30, 0])

    assert measure_red(-3.0) == 60
    assert measure_red(0.05) < measure_red(0.25) < measure_red(0.5) == measure_red(5.0)
