"""Occlusion of posters whose evidence is known."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.prediction.explanation import NUM_COLUMNS, NUM_ROWS, measure_evidence

HEIGHT, WIDTH = 90, 60  # cells of 10 x 10 pixels
Images = Sequence[NDArray[np.float32]]


def sigmoid(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return (1 / (1 + np.exp(-values))).astype(np.float32)


def test_the_evidence_is_where_the_genre_is_seen() -> None:
    poster = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    poster[30:40, 20:30] = 255  # row 3, column 2

    def predict(images: Images) -> NDArray[np.float32]:
        # The brightness of that cell speaks for the first genre and against the second; of the third it says nothing.
        seen = np.array([image[30:40, 20:30].mean() / 255 for image in images])
        return np.stack([sigmoid(4 * seen), sigmoid(-4 * seen), np.full(len(images), 0.3, np.float32)], axis=1)

    evidence = measure_evidence(poster, predict)
    assert evidence.shape == (3, NUM_ROWS, NUM_COLUMNS)
    assert np.unravel_index(evidence[0].argmax(), evidence[0].shape) == (3, 2)
    # Hidden, the cell has the mean of the poster, 100 of 5,400 pixels: of 4 in log-odds 4 * 53 / 54 are lost.
    assert evidence[0, 3, 2] == pytest.approx(4 * 53 / 54, rel=1e-4)
    np.testing.assert_allclose(evidence[1], -evidence[0], atol=1e-4)
    assert not evidence[2].any()
    # Two cells away no window hides it.
    far = np.ones((NUM_ROWS, NUM_COLUMNS), bool)
    far[2:5, 1:4] = False
    assert not evidence[0][far].any()
    # A cell beside it shares half of its windows, one at its corner a fourth.
    assert evidence[0, 3, 3] == pytest.approx(evidence[0, 3, 2] / 2, rel=1e-4)
    assert evidence[0, 4, 3] == pytest.approx(evidence[0, 3, 2] / 4, rel=1e-4)


def test_confidences_that_float32_rounds_to_one_have_finite_evidence() -> None:
    poster = np.random.default_rng(0).uniform(0, 255, (HEIGHT, WIDTH, 3)).astype(np.float32)
    evidence = measure_evidence(poster, lambda images: np.array([[1.0]] + [[0.0]] * (len(images) - 1), np.float32))
    assert np.isfinite(evidence).all()
    assert (evidence > 10).all()


@pytest.mark.parametrize("size", [(224, 224), (384, 256), (100, 101)])
def test_windows_cover_posters_of_any_size(size: tuple[int, int]) -> None:
    poster = np.random.default_rng(0).uniform(0, 255, (*size, 3)).astype(np.float32)
    is_hidden = np.zeros(size, bool)

    def predict(images: Images) -> NDArray[np.float32]:
        for image in images[1:]:
            is_hidden[(image != poster).any(axis=2)] = True
        return np.full((len(images), 1), 0.5, np.float32)

    measure_evidence(poster, predict)
    assert is_hidden.all()
