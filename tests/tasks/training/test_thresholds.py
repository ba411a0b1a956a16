import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit
from sklearn.metrics import f1_score

from tasks.settings import TrainingSettings
from tasks.training.examples import Examples, TrainingData
from tasks.training.fitting import fit_head
from tasks.training.head import build_logits_model, fold_calibration, predict
from tasks.training.thresholds import calibrate, cross_validate, maximise_expected_f1, maximise_f1, trace_f1


def test_f1_by_threshold_is_worked_by_hand() -> None:
    # From 0.2 on all four films are predicted, two of them rightly; from 0.8 on one, rightly, of two.
    thresholds, f1 = trace_f1(np.array([0, 1, 0, 1], np.uint8), np.array([0.2, 0.5, 0.5, 0.8], np.float32))
    assert thresholds == pytest.approx([0.2, 0.5, 0.8])
    assert f1 == pytest.approx([4 / 6, 4 / 5, 2 / 3])


def test_expected_f1_is_worked_by_hand() -> None:
    # The sum of all is 1.6. Of the likeliest 1: 1.6/2.6; of 2: 2.6/3.6, the highest; of 3: 3/4.6; of 4: 3.2/5.6.
    assert maximise_expected_f1(np.array([0.2, 0.5, 0.8, 0.1])) == pytest.approx(1.3 / 3.6)
    assert maximise_expected_f1(np.array([1.0, 0.0, 1.0])) == 0.5


@settings(max_examples=100, deadline=None)
@given(arrays(np.float64, 12, elements=st.floats(0, 1)).filter(np.any))
def test_no_other_threshold_has_a_higher_expected_f1(probabilities) -> None:
    def expected_f1(threshold: float) -> float:
        chosen = probabilities > threshold
        return 2 * probabilities[chosen].sum() / (chosen.sum() + probabilities.sum())

    best = expected_f1(maximise_expected_f1(probabilities) - 1e-9)
    assert all(best >= expected_f1(threshold) - 1e-6 for threshold in [*probabilities, *(probabilities - 1e-9)])


def test_best_f1_is_worked_by_hand() -> None:
    # Between 1 and -1 nothing is wrong.
    assert maximise_f1(np.array([1, 1, 0, 0], np.uint8), np.array([3, 1, -1, -2], np.float32)) == 0
    # Over -0.5: tp 2, fn 1, 4/5; with all: tp 3, fp 1, 6/7, so below the lowest.
    assert maximise_f1(np.array([1, 0, 1, 1], np.uint8), np.array([-4, -1, 2, 0], np.float32)) == -4.5
    # Over 2: tp 1, fn 1; over 0: tp 2, fp 2; both 2/3, so the lower.
    targets, scores = np.array([0, 1, 0, 0, 1, 0, 0], np.uint8), np.array([-2, 1, 1, 1, 3, -3, -1], np.float32)
    assert maximise_f1(targets, scores) == 0


@settings(max_examples=100, deadline=None)
@given(
    arrays(np.uint8, 30, elements=st.integers(0, 1)).filter(np.any),
    arrays(np.float32, 30, elements=st.integers(-8, 8).map(lambda number: number / 4)),
)
def test_no_other_threshold_has_a_higher_f1(targets, scores) -> None:
    chosen = f1_score(targets, scores > maximise_f1(targets, scores), zero_division=0)
    others = [f1_score(targets, scores > threshold, zero_division=0) for threshold in np.arange(-2.125, 2.25, 0.25)]
    assert chosen == pytest.approx(max(others))


SLOPES, INTERCEPTS = np.array([1.0, 0.5, 2.0]), np.array([0.0, -1.0, -3.0])


def draw_films(num_films: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Logits of three genres, and genres that are there by the probabilities `expit(slope * logit + intercept)`."""
    logits = rng.normal(size=(num_films, 3)).astype(np.float32) * 3
    probabilities = expit(logits * SLOPES + INTERCEPTS)
    return (rng.random((num_films, 3)) < probabilities).astype(np.uint8), logits


def test_calibration_finds_what_the_films_were_drawn_by() -> None:
    targets, logits = draw_films(20_000, np.random.default_rng(0))
    calibration = calibrate(targets, logits, "calibrated")
    np.testing.assert_allclose(calibration.slopes, SLOPES, rtol=0.1)
    np.testing.assert_allclose(calibration.intercepts, INTERCEPTS, atol=0.15)
    calibrated = expit(calibration.fold(logits) + calibration.thresholds)
    np.testing.assert_allclose(calibrated, expit(logits * SLOPES + INTERCEPTS), atol=0.03)
    np.testing.assert_allclose(calibration.unfold(calibration.fold(logits)), logits, atol=1e-4)
    # With so many films what is expected is what there is; and a raw 0.5 is a logit of 0.
    for method in ("empirical", "none"):
        other = calibrate(targets, logits, method)
        np.testing.assert_array_equal(other.slopes, calibration.slopes)
        np.testing.assert_array_equal(other.intercepts, calibration.intercepts)
    empirical = calibrate(targets, logits, "empirical")
    np.testing.assert_allclose(empirical.thresholds, calibration.thresholds, atol=0.3)
    np.testing.assert_array_equal(calibrate(targets, logits, "none").fold(logits) > 0, logits > 0)


def test_on_other_films_few_numbers_do_better_than_the_best_of_the_past() -> None:
    gains, rng = [], np.random.default_rng(0)
    for _ in range(30):
        found, other = draw_films(100, rng), draw_films(2000, rng)
        scores = [
            f1_score(other[0], calibrate(*found, method).fold(other[1]) > 0, average="macro")
            for method in ("calibrated", "empirical")
        ]
        gains.append(scores[0] - scores[1])
    assert np.mean(gains) > 2 * np.std(gains) / np.sqrt(len(gains))


def test_a_genre_of_which_nothing_is_known_stays_as_it_is() -> None:
    # Of no film, of all, of those with the lowest logits; the last is told apart by its logits alone.
    targets = np.array([[0, 1, 0, 0], [0, 1, 0, 1], [0, 1, 1, 0], [0, 1, 1, 1]], np.uint8)
    logits = np.array([[2, 2, 3, -1], [1, 1, 2, 3], [0, 0, 1, 1], [-1, -1, -1, 2]], np.float32)
    for method in ("calibrated", "empirical", "none"):
        calibration = calibrate(targets, logits, method)
        np.testing.assert_array_equal(calibration.fold(logits)[:, :3], logits[:, :3])
        assert 1 < calibration.slopes[3] < 100
        if method != "none":
            np.testing.assert_array_equal(calibration.fold(logits)[:, 3] > 0, targets[:, 3] == 1)


def test_a_genre_of_which_little_is_known_does_not_outdo_the_others() -> None:
    """Every film is as likely to have it: the best is to decide for it everywhere, and not with confidence."""
    targets = np.tile([[1], [0], [0], [0]], (50, 1)).astype(np.uint8)
    logits = (np.repeat(np.linspace(-2, 2, 50), 4)[:, np.newaxis] + 0.01 * targets).astype(np.float32)
    calibration = calibrate(targets, logits, "calibrated")
    assert 0 < calibration.slopes[0] < 0.02
    confidences = expit(calibration.fold(logits))
    assert confidences.min() > 0.5
    assert confidences.max() < 0.7


def test_cross_validation_is_that_of_other_films() -> None:
    rng = np.random.default_rng(0)
    targets, logits = draw_films(2000, rng)
    decisions = calibrate(*draw_films(2000, rng), "calibrated").fold(logits) > 0
    expected = f1_score(targets, decisions, average="macro")
    assert cross_validate(targets, logits, "calibrated") == pytest.approx(expected, abs=0.01)
    # Logits of noise: what is found on the films themselves is too good.
    noise = rng.normal(size=(60, 3)).astype(np.float32)
    targets = rng.integers(0, 2, (60, 3)).astype(np.uint8)
    found_there = f1_score(targets, calibrate(targets, noise, "empirical").fold(noise) > 0, average="macro")
    assert cross_validate(targets, noise, "empirical") < found_there
    assert cross_validate(targets, noise, "empirical") == cross_validate(targets, noise, "empirical")


@pytest.mark.parametrize("num_films", [1, 2, 3])
def test_cross_validation_of_a_handful_of_films(num_films: int) -> None:
    """Where most of them are without a genre that others have: raw decisions are all right here."""
    targets = np.eye(3, dtype=np.uint8)[:num_films]
    logits = targets * 4 - np.float32(2)
    expected = f1_score(targets, targets, average="macro", zero_division=0)
    assert cross_validate(targets, logits, "calibrated") == pytest.approx(expected)


def test_a_single_film_is_predicted_over_a_raw_one_half() -> None:
    logits = np.array([[0.0, 0.1]], np.float32)
    assert cross_validate(np.array([[0, 1]], np.uint8), logits, "calibrated") == 0.5
    assert cross_validate(np.array([[1, 0]], np.uint8), logits, "calibrated") == 0


def test_folded_into_a_head_one_half_is_optimal(make_matrix) -> None:
    """On the films it was found on: `empirical` by their genres, `calibrated` by what is expected of them."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 12))
    targets = (features[:, :3] + rng.normal(size=(300, 3)) > [0.5, 1.0, 2.0]).astype(np.uint8)
    matrix = make_matrix(features)
    examples = Examples(pd.DataFrame(index=range(300)), matrix, targets)
    settings = TrainingSettings(
        hidden_units=8, batch_size=32, loss="binary_crossentropy", epochs=20, learning_rate=1e-2, dropout=0.0
    )
    for method in ("empirical", "calibrated"):
        head = fit_head(TrainingData(examples, examples, ["a", "b", "c"]), settings, seed=0).head
        raw_logits = predict(build_logits_model(head), matrix)["genres"]
        calibration = calibrate(targets, raw_logits, method)
        fold_calibration(head, calibration)
        confidences = predict(head, matrix)["genres"]
        np.testing.assert_allclose(confidences, expit(calibration.fold(raw_logits)), atol=1e-5)
        calibrated = expit(calibration.slopes * raw_logits + calibration.intercepts)
        truth = targets if method == "empirical" else calibrated

        def f1(column: int, decisions: np.ndarray, truth: np.ndarray = truth) -> float:
            return 2 * truth[decisions, column].sum() / (decisions.sum() + truth[:, column].sum())

        for column in range(3):
            at_half = f1(column, confidences[:, column] > 0.5)
            assert at_half >= f1(column, raw_logits[:, column] > 0)
            assert all(
                at_half >= f1(column, confidences[:, column] > threshold) - 1e-6
                for threshold in np.linspace(0.01, 0.99, 99)
            )
        # A cross-entropy head is over 0.5 too seldom for F1 of the genre that is rare.
        assert f1(2, confidences[:, 2] > 0.5) > f1(2, raw_logits[:, 2] > 0) + 0.01
