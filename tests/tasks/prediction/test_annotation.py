import io

import numpy as np
import pytest
from PIL import Image

from tasks.prediction.annotation import annotate
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
