import numpy as np
import pytest

from tasks.evaluation.scores import score


def test_worked_by_hand() -> None:
    targets = np.array([[1, 0], [1, 1], [0, 1], [0, 0]], np.uint8)
    probabilities = np.array([[0.9, 0.6], [0.6, 0.5], [0.8, 0.7], [0.1, 0.2]], np.float32)
    # Drama: tp 2, fp 1, fn 0; War: tp 1, fp 1, fn 1, for 0.5 is not over 0.5
    scores = score(targets, probabilities, ["Drama", "War"])
    assert scores["genres"]["Drama"] == pytest.approx({"precision": 2 / 3, "recall": 1.0, "f1": 0.8, "support": 2})
    assert scores["genres"]["War"] == pytest.approx({"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2})
    assert scores["macro_f1"] == pytest.approx(0.65)
    assert scores["micro_f1"] == pytest.approx(2 * 3 / (2 * 3 + 2 + 1))


def test_predicting_everything() -> None:
    targets = np.array([[1, 0], [0, 1], [0, 1], [0, 1]], np.uint8)
    scores = score(targets, np.ones((4, 2), np.float32), ["a", "b"])
    assert [scores["genres"][name]["f1"] for name in "ab"] == pytest.approx([0.4, 6 / 7])


def test_a_genre_without_films_or_decisions_scores_zero() -> None:
    scores = score(np.array([[1, 0]], np.uint8), np.array([[0.9, 0.1]], np.float32), ["a", "b"])
    assert scores["macro_f1"] == 0.5
    assert scores["genres"]["b"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
