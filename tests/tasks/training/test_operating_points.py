import numpy as np
import pytest

from tasks.training import operating_points
from tasks.training.operating_points import PRECISIONS, find_operating_points, measure_operating_points


@pytest.fixture(autouse=True)
def _few_films(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operating_points, "MIN_FILMS", 2)


def test_points_are_worked_by_hand() -> None:
    # Means from the top: 1, 0.875, 0.75, 0.625, 0.55 and 0.5. Right are the first, the second and the fifth.
    targets = np.array([[1], [1], [0], [0], [1], [0]], np.uint8)
    probabilities = np.array([[1], [0.75], [0.5], [0.25], [0.25], [0.25]], np.float32)
    order = [3, 0, 5, 1, 2, 4]
    points = find_operating_points(targets[order], probabilities[order], ["a"])["a"]
    assert list(points) == ["0.5", "0.6", "0.7", "0.8", "0.9"]
    assert points["0.5"] == pytest.approx({"threshold": 0.25, "num_films": 6, "precision": 0.5, "recall": 1})
    # The three with 0.25 are predicted together, so that these, too, have 0.75.
    for precision in ("0.6", "0.7"):
        assert points[precision] == pytest.approx(
            {"threshold": 0.5, "num_films": 3, "precision": 2 / 3, "recall": 2 / 3}
        )
    assert points["0.8"] == pytest.approx({"threshold": 0.75, "num_films": 2, "precision": 1, "recall": 2 / 3})
    assert points["0.9"] is None  # of one film


def test_a_genre_that_no_film_has_may_have_points() -> None:
    probabilities = np.array([[0.5, 0.25], [0.5, 0.25]], np.float32)
    points = find_operating_points(np.zeros((2, 2), np.uint8), probabilities, ["a", "b"])
    assert points["a"]["0.5"] == {"threshold": 0.5, "num_films": 2, "precision": 0, "recall": 0}
    assert set(points["b"].values()) == {None}


def test_their_precision_holds_on_other_films() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.beta(1, 3, (20_000, 2)).astype(np.float32)
    targets = (rng.random(probabilities.shape) < probabilities).astype(np.uint8)
    points = find_operating_points(targets[:10_000], probabilities[:10_000], ["a", "b"])
    measured = measure_operating_points(targets[10_000:], probabilities[10_000:], points)
    assert [figures["num_genres"] for figures in measured.values()] == [2] * 5
    for wanted, figures in measured.items():
        assert figures["precision"] == pytest.approx(float(wanted), abs=0.04)


def test_they_are_measured_on_other_films() -> None:
    point = {"threshold": 0.5}
    nowhere = dict.fromkeys(map(str, PRECISIONS))
    points = {"a": {**nowhere, "0.5": point, "0.9": point}, "b": {**nowhere, "0.5": {"threshold": 0.3}}}
    targets = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], np.uint8)
    probabilities = np.array([[0.5, 0.4], [0.4, 0.2], [0.8, 0.3], [0.1, 0.1]], np.float32)
    measured = measure_operating_points(targets, probabilities, points)
    # "a" of the first and the third film, both right; "b" of the first, wrong, and of the third.
    assert measured["0.5"] == {"num_genres": 2, "precision": 0.75, "recall": 0.75, "films_with_genres": 0.5}
    assert measured["0.9"] == {"num_genres": 1, "precision": 1, "recall": 0.5, "films_with_genres": 0.5}
    assert measured["0.7"] == {"num_genres": 0, "precision": 0, "recall": 0, "films_with_genres": 0}
