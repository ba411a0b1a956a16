import numpy as np
import pytest

from tasks.training import operating_points
from tasks.training.operating_points import PRECISIONS, find_operating_points, measure_operating_points


@pytest.fixture(autouse=True)
def _few_films(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operating_points, "MIN_FILMS", 2)


def test_points_are_worked_by_hand() -> None:
    # From the top: right, right, wrong, wrong, right, wrong. Precision 1, 1, 2/3, 1/2, 3/5, 1/2.
    targets = np.array([[1], [1], [0], [0], [1], [0]], np.uint8)
    probabilities = np.array([[0.9], [0.8], [0.7], [0.6], [0.5], [0.4]], np.float32)
    order = [3, 0, 5, 1, 2, 4]
    points = find_operating_points(targets[order], probabilities[order], ["a"])["a"]
    assert list(points) == ["0.5", "0.6", "0.7", "0.8", "0.9"]
    assert points["0.5"] == pytest.approx({"threshold": 0.4, "num_films": 6, "precision": 0.5, "recall": 1})
    assert points["0.6"] == pytest.approx({"threshold": 0.5, "num_films": 5, "precision": 0.6, "recall": 1})
    for precision in ("0.7", "0.8", "0.9"):
        assert points[precision] == pytest.approx({"threshold": 0.8, "num_films": 2, "precision": 1, "recall": 2 / 3})


def test_equal_probabilities_are_predicted_together() -> None:
    targets = np.array([[1], [1], [0], [0]], np.uint8)
    probabilities = np.array([[0.9], [0.5], [0.5], [0.5]], np.float32)
    points = find_operating_points(targets, probabilities, ["a"])["a"]
    # After the first film, which alone is too few, all others follow at once: two of four.
    assert points["0.5"] == pytest.approx({"threshold": 0.5, "num_films": 4, "precision": 0.5, "recall": 1})
    assert points["0.6"] is None


def test_a_precision_that_is_not_reached_has_no_point() -> None:
    targets = np.array([[0, 0], [1, 0], [0, 0]], np.uint8)
    points = find_operating_points(targets, np.array([[0.9, 0.1], [0.5, 0.2], [0.2, 0.3]], np.float32), ["a", "b"])
    assert points["a"]["0.5"]["threshold"] == 0.5
    assert points["a"]["0.6"] is None
    assert set(points["b"].values()) == {None}  # no film of the genre


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
