import numpy as np
import pytest

from tasks.outputs.calibration import Calibration
from tasks.training.ranking import choose_order

ZEROS = np.zeros(3, np.float32)
# Logits of the confidences of two films; calibrated ones are 2 lower for the second genre.
LOGITS = np.array([[1, 2, 0], [0.5, 1, -1]], np.float32)
CALIBRATION = Calibration(ZEROS + 1, ZEROS, np.array([0, -2, 0], np.float32))


@pytest.mark.parametrize(
    ("targets", "order", "confidences", "calibrated"),
    [
        # The first genre is right: second by confidence, first by calibrated probability.
        ([[1, 0, 0], [1, 0, 0]], "calibrated", 0.5, 1.0),
        # The second is: first by confidence, and by calibrated probability (0 and -1) last or tied with the last.
        ([[0, 1, 0], [0, 1, 0]], "confidences", 1.0, 1 / 3),
        # The first two: by confidence both before the third; by probability the third is as high as the second.
        ([[1, 1, 0], [1, 1, 0]], "confidences", 1.0, (1 + 2 / 3) / 2),
        # Nothing to rank.
        ([[1, 1, 1], [1, 1, 1]], "confidences", 1.0, 1.0),
    ],
)
def test_average_precision_is_worked_by_hand(targets, order, confidences, calibrated) -> None:
    found, scores = choose_order(np.array(targets, np.uint8), LOGITS, CALIBRATION)
    assert found == order
    assert scores == pytest.approx({"confidences": confidences, "calibrated": calibrated})
