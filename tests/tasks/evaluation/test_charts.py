import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.evaluation.charts import draw_calibration, draw_thresholds


def test_a_genre_that_no_film_has_is_drawn_without_a_word(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (40, 5)).astype(np.uint8)
    targets[:, 3] = 0
    probabilities = rng.random((40, 5), np.float32)
    genres = ["Action", "Comedy", "Drama", "War", "Western"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_thresholds(tmp_path, targets, probabilities, dict.fromkeys(genres, 0.3))
        draw_calibration(tmp_path, targets, {"raw": probabilities, "calibrated": probabilities / 2}, genres)
    for name in ("thresholds.png", "calibration.png"):
        with Image.open(tmp_path / name) as picture:
            # Two rows of charts, of four and of one.
            assert picture.size == (900, 430)
