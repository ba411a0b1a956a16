from typing import Any

import numpy as np
import pytest

from tasks.outputs.agreement import compare_decisions, compare_labels
from tasks.outputs.decisions import DecisionRule

NAMES = ["a", "b", "c"]
PROBABILITIES = np.array([[0.9, 0.2, 0.5], [0.1, 0.300, 0.302]], np.float32)


@pytest.mark.parametrize(
    ("labels", "confidences", "difference"),
    [
        ([["a", "c"], ["c", "b"]], [[0.9, 0.5], [0.302, 0.300]], 0.0),
        ([["a", "c"], ["c", "b"]], [[0.905, 0.5], [0.302, 0.300]], 0.005),
        ([["a", "c"], ["b", "c"]], [[0.9, 0.5], [0.303, 0.302]], 0.003),  # a near tie, the other way round
        ([["a", "c"], ["c", "b"]], [[0.88, 0.5], [0.302, 0.300]], 0.02),  # another confidence
        ([["a", "b"], ["c", "b"]], [[0.9, 0.5], [0.302, 0.300]], 0.3),  # another label
        ([["a", "b"], ["c", "b"]], [[0.9, 0.2], [0.302, 0.300]], 0.3),  # not the best
        ([["a", "c"], ["c", "b"]], [[0.9, float("nan")], [0.302, 0.300]], float("nan")),
    ],
)
def test_labels_are_compared(labels: list[list[str]], confidences: list[list[float]], difference: float) -> None:
    found = compare_labels(labels, confidences, PROBABILITIES, NAMES)
    assert found == pytest.approx(difference, abs=1e-6, nan_ok=True)


CONFIDENCES = np.array([[0.9, 0.501, 0.2], [0.3, 0.4, 0.399]], np.float32)
CALIBRATED = np.array([[0.6, 0.595, 0.1], [0.3, 0.2, 0.298]], np.float32)


def serve(labels: list[list[str]], confidences: list[list[float]], calibrated: list[list[float]]) -> dict[str, Any]:
    return {"labels": labels, "confidences": confidences, "calibrated": calibrated}


AS_EXPECTED = serve([["a", "b", ""], ["a", "", ""]], [[0.9, 0.501, 0], [0.3, 0, 0]], [[0.6, 0.595, 0], [0.3, 0, 0]])


@pytest.mark.parametrize(
    ("served", "difference"),
    [
        (AS_EXPECTED, 0.0),
        # Another confidence, and another calibrated probability.
        ({**AS_EXPECTED, "confidences": [[0.9, 0.541, 0], [0.3, 0, 0]]}, 0.04),
        ({**AS_EXPECTED, "calibrated": [[0.6, 0.595, 0], [0.25, 0, 0]]}, 0.05),
        ({**AS_EXPECTED, "calibrated": [[0.6, 0.595, 0], [float("nan"), 0, 0]]}, float("nan")),
        # A genre near 0.5 is left out, one that is far from it is.
        (serve([["a", "", ""], ["a", "", ""]], [[0.9, 0, 0], [0.3, 0, 0]], [[0.6, 0, 0], [0.3, 0, 0]]), 0.001),
        (serve([["b", "", ""], ["a", "", ""]], [[0.501, 0, 0], [0.3, 0, 0]], [[0.595, 0, 0], [0.3, 0, 0]]), 0.4),
        # One more, which has 0.2.
        (
            serve(
                [["a", "b", "c"], ["a", "", ""]],
                [[0.9, 0.501, 0.2], [0.3, 0, 0]],
                [[0.6, 0.595, 0.1], [0.3, 0, 0]],
            ),
            0.3,
        ),
        # The other order: 0.595 where 0.6 is expected.
        (serve([["b", "a", ""], ["a", "", ""]], [[0.501, 0.9, 0], [0.3, 0, 0]], [[0.595, 0.6, 0], [0.3, 0, 0]]), 0.005),
        # The second best of a film without any over 0.5.
        (
            serve([["a", "b", ""], ["c", "", ""]], [[0.9, 0.501, 0], [0.399, 0, 0]], [[0.6, 0.595, 0], [0.298, 0, 0]]),
            0.002,
        ),
        # What is padded must be 0.
        ({**AS_EXPECTED, "confidences": [[0.9, 0.501, 0.2], [0.3, 0, 0]]}, 0.2),
        # Nothing at all, as for a broken picture.
        (serve([["", "", ""], ["a", "", ""]], [[0, 0, 0], [0.3, 0, 0]], [[0, 0, 0], [0.3, 0, 0]]), 0.4),
    ],
)
def test_decisions_are_compared(served: dict[str, Any], difference: float) -> None:
    found = compare_decisions(served, CONFIDENCES, CALIBRATED, NAMES, DecisionRule("calibrated"))
    assert found == pytest.approx(difference, abs=1e-6, nan_ok=True)
