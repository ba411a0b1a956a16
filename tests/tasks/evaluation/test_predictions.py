import numpy as np
import pytest
from scipy.special import logit

from tasks.evaluation.predictions import GenreScores
from tasks.outputs.calibration import Calibration


def test_scores_are_worked_by_hand() -> None:
    """A raw logit of 1 is calibrated to 2 * 1 + 0.5, and 2.5 less the threshold of 1.5 is the confidence's."""
    calibration = Calibration(*(np.array([value], np.float32) for value in (2.0, 0.5, 1.5)))
    logits = calibration.fold(np.array([[1.0]], np.float32))
    assert logits == pytest.approx(1.0)
    scores = GenreScores.from_logits(logits, calibration)
    assert logit(scores.confidences) == pytest.approx(1.0)
    assert logit(scores.calibrated) == pytest.approx(2.5)
    assert logit(scores.raw) == pytest.approx(1.0)


def test_a_confidence_is_over_a_half_where_the_probability_is_over_the_threshold() -> None:
    thresholds = np.array([logit(0.2), logit(0.7)], np.float32)
    calibration = Calibration(np.ones(2, np.float32), np.zeros(2, np.float32), thresholds)
    probabilities = np.array([[0.25, 0.65], [0.15, 0.75]])
    scores = GenreScores.from_logits(logit(probabilities).astype(np.float32) - thresholds, calibration)
    assert (scores.confidences > 0.5).tolist() == [[True, False], [False, True]]
    np.testing.assert_allclose(scores.calibrated, probabilities, atol=1e-6)
