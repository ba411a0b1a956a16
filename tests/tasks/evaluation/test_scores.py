import numpy as np
import pytest
from sklearn.metrics import f1_score

from tasks.evaluation import scores as scores_module
from tasks.evaluation.scores import (
    find_interval,
    mean_batch_macro_f1,
    measure_calibration,
    score_decades,
    score_decisions,
)


def test_worked_by_hand() -> None:
    targets = np.array([[1, 0], [1, 1], [0, 1], [0, 0]], np.uint8)
    probabilities = np.array([[0.9, 0.6], [0.6, 0.5], [0.8, 0.7], [0.1, 0.2]], np.float32)
    # Drama: tp 2, fp 1, fn 0; War: tp 1, fp 1, fn 1, for 0.5 is not over 0.5
    scores = score_decisions(targets, probabilities > 0.5, ["Drama", "War"])
    assert scores["genres"]["Drama"] == pytest.approx({"precision": 2 / 3, "recall": 1.0, "f1": 0.8, "support": 2})
    assert scores["genres"]["War"] == pytest.approx({"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2})
    assert scores["macro_f1"] == pytest.approx(0.65)
    assert scores["labels_per_film"] == 5 / 4
    assert scores["micro_f1"] == pytest.approx(2 * 3 / (2 * 3 + 2 + 1))
    assert scores["macro_f1_interval"] == find_interval(targets, probabilities > 0.5)
    assert scores["mean_batch_macro_f1"] == pytest.approx(0.65)  # one batch


def test_predicting_everything() -> None:
    targets = np.array([[1, 0], [0, 1], [0, 1], [0, 1]], np.uint8)
    scores = score_decisions(targets, np.ones((4, 2), bool), ["a", "b"])
    assert [scores["genres"][name]["f1"] for name in "ab"] == pytest.approx([0.4, 6 / 7])


def test_a_genre_without_films_or_decisions_scores_zero(recwarn: pytest.WarningsRecorder) -> None:
    scores = score_decisions(np.array([[1, 0]], np.uint8), np.array([[True, False]]), ["a", "b"])
    assert scores["macro_f1"] == 0.5
    assert scores["genres"]["b"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    nothing = score_decisions(np.zeros((3, 2), np.uint8), np.zeros((3, 2), bool), ["a", "b"])
    assert (nothing["macro_f1"], nothing["micro_f1"], nothing["labels_per_film"]) == (0, 0, 0)
    assert not recwarn.list


def test_the_articles_metric_is_a_mean_over_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores_module, "ARTICLE_BATCH_SIZE", 2)
    targets = np.array([[1, 0], [1, 0], [0, 1], [1, 1], [0, 0]], np.uint8)
    decisions = np.array([[1, 0], [0, 1], [0, 1], [1, 1], [1, 0]], bool)
    # Batch 1: 2/3 and 0; batch 2: 1 and 1; batch 3, of one film: 0 and 0. Of the whole it would be 2/3 and 4/5.
    assert mean_batch_macro_f1(targets, decisions) == pytest.approx((1 / 3 + 1 + 0) / 3)
    assert f1_score(targets, decisions, average="macro") == pytest.approx((2 / 3 + 4 / 5) / 2)
    # A whole that fits into one batch has no mean to take.
    monkeypatch.undo()
    assert mean_batch_macro_f1(targets, decisions) == pytest.approx((2 / 3 + 4 / 5) / 2)


def test_decades_are_worked_by_hand() -> None:
    targets = np.array([[1, 0], [1, 1], [0, 1], [1, 0]], np.uint8)
    decisions = np.array([[True, False], [True, False], [True, True], [False, True]])
    # 1990s: tp 2, fp 0, fn 1. 2000s: tp 1, fp 1, fn 0. The last film has no year.
    assert score_decades(np.array([1990, 1999, 2001, 0]), targets, decisions) == {
        "1990s": {"num_films": 2, "micro_f1": pytest.approx(4 / 5)},
        "2000s": {"num_films": 1, "micro_f1": pytest.approx(2 / 3)},
    }
    assert score_decades(np.zeros(4, int), targets, decisions) == {}


def test_interval_equals_the_known_one() -> None:
    """Where every decision is positive, F1 is 2 p / (1 + p), p the share of positives, of known variance."""
    rng = np.random.default_rng(0)
    targets = np.zeros((2000, 2), np.uint8)
    targets[:400] = 1
    low, high = find_interval(rng.permutation(targets), np.ones((2000, 2), bool))
    share = 0.2
    spread = np.sqrt(share * (1 - share) / 2000) * 2 / (1 + share) ** 2  # the delta method
    assert 2 * share / (1 + share) == pytest.approx((low + high) / 2, abs=0.003)
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.1)


def test_interval_of_a_difference_is_of_the_same_films() -> None:
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 2, (500, 3)).astype(np.uint8)
    decisions = rng.random((500, 3)) < 0.5
    assert find_interval(targets, decisions, decisions) == [0, 0]
    low, high = find_interval(targets, targets.astype(bool), decisions)
    improvement = 1 - f1_score(targets, decisions, average="macro")
    assert low < improvement < high
    assert find_interval(targets, decisions, targets.astype(bool)) == pytest.approx([-high, -low])
    assert find_interval(targets, decisions) == find_interval(targets, decisions)


def test_one_film_has_the_widest_interval() -> None:
    one, right = np.ones((1, 2), np.uint8), np.ones((1, 2), bool)
    assert find_interval(one, right) == [0, 1]
    assert find_interval(one, right, ~right) == [-1, 1]
    # Two can be resampled.
    assert find_interval(one.repeat(2, axis=0), right.repeat(2, axis=0)) == [1, 1]


def test_calibration_is_worked_by_hand() -> None:
    targets = np.array([[1, 0], [0, 0], [1, 1], [1, 0]], np.uint8)
    probabilities = np.array([[0.75, 1.0], [0.75, 0.0], [0.3, 1.0], [0.35, 0.0]], np.float32)
    figures = measure_calibration(targets, probabilities, ["a", "b"])
    # a: in the tenth from 0.7 half of two films at 0.75; from 0.3 both of two at 0.3 and 0.35.
    assert figures["a"]["calibration_error"] == pytest.approx((2 * 0.25 + 2 * 0.675) / 4, abs=1e-6)
    assert figures["a"]["brier"] == pytest.approx((0.0625 + 0.5625 + 0.49 + 0.4225) / 4, abs=1e-6)
    # b: both of the lowest are rightly 0; of the two at 1 one is.
    assert figures["b"] == pytest.approx({"calibration_error": 0.25, "brier": 0.25})


def test_probabilities_of_one_are_in_the_last_tenth() -> None:
    targets, probabilities = np.array([[0], [1], [1]], np.uint8), np.array([[1.0], [0.95], [0.85]], np.float32)
    figures = measure_calibration(targets, probabilities, ["a"])
    assert figures["a"]["calibration_error"] == pytest.approx((1 - 0.05 + 0.15) / 3, abs=1e-6)
