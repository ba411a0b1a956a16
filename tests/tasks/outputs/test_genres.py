import numpy as np
import pytest
import tensorflow as tf

from tasks.outputs.calibration import Calibration
from tasks.outputs.decisions import DecisionRule
from tasks.outputs.genres import GenresOutput
from tasks.outputs.output import OutputContext

NAMES = ["a", "b", "c"]


def make_calibration(thresholds: list[float]) -> Calibration:
    zeros = np.zeros(len(thresholds), np.float32)
    return Calibration(zeros + 1, zeros, np.array(thresholds, np.float32))


@pytest.mark.parametrize(
    "rule", [DecisionRule("calibrated"), DecisionRule("confidences"), DecisionRule("calibrated", 1)]
)
def test_columns_are_decoded_as_the_model_serves_them(rule: DecisionRule) -> None:
    output = GenresOutput(NAMES, rule, make_calibration([-2, 1, 0.5]))
    columns = np.array([[0.9, 0.2, 0.6], [0.4, 0.3, 0.1], [0.51, 0.52, 0.53]], np.float32)
    served = {name: values.numpy() for name, values in output.serve(tf.math.log(columns / (1 - columns))).items()}
    for row, decoded in enumerate(output.decode(columns)):
        named = len(decoded["labels"])
        assert served["labels"][row].astype(str).tolist()[:named] == decoded["labels"]
        assert not any(served["labels"][row][named:])
        for name in ("confidences", "calibrated"):
            assert served[name][row, :named] == pytest.approx(decoded[name], abs=1e-6)
    assert output.compare_served({name: values.tolist() for name, values in lists(served).items()}, columns) < 1e-6


def lists(served: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**served, "labels": served["labels"].astype(str)}


def test_a_prediction_is_worked_by_hand() -> None:
    # Odds of 9 and 1.5 times exp(-2) and exp(0.5): 1.218 and 2.473.
    columns = np.array([[0.9, 0.2, 0.6]], np.float32)
    (decoded,) = GenresOutput(NAMES, DecisionRule("calibrated"), make_calibration([-2, 1, 0.5])).decode(columns)
    assert decoded == {
        "labels": ["c", "a"],
        "confidences": pytest.approx([0.6, 0.9]),
        "calibrated": pytest.approx([2.473 / 3.473, 1.218 / 2.218], abs=1e-4),
    }
    (decoded,) = GenresOutput(NAMES, DecisionRule("confidences", 3)).decode(columns)
    assert decoded == {"labels": ["a", "c"], "confidences": pytest.approx([0.9, 0.6]), "calibrated": []}


def test_operating_thresholds_replace_the_decision() -> None:
    output = GenresOutput(NAMES, DecisionRule("calibrated"), make_calibration([0, 0, 0]))
    columns = np.array([[0.9, 0.2, 0.6], [0.5, 0.25, 0.9], [0.1, 0.1, 0.1]], np.float32)
    at = output.with_operating_thresholds(np.array([0.5, 0.25, np.nan], np.float32))
    # At the threshold and over it; the third has none; and there may be no genre at all.
    assert [row["labels"] for row in at.decode(columns)] == [["a"], ["a", "b"], []]
    limited = at.with_rule(DecisionRule("calibrated", 1))
    assert [row["labels"] for row in limited.decode(columns)] == [["a"], ["a"], []]


def test_calibration_is_in_all_served_scores() -> None:
    calibration = Calibration(
        slopes=np.array([2, 1], np.float32),
        intercepts=np.array([1, 0], np.float32),
        thresholds=np.array([0.5, -1], np.float32),
    )
    output = GenresOutput(["a", "b"]).with_calibration(calibration)
    raw = np.array([[0.25, -2.0]], np.float32)
    folded = calibration.fold(raw)
    np.testing.assert_allclose(folded, [[1.0, -1.0]])
    served = {name: tensor.numpy() for name, tensor in output.serve_all(tf.constant(folded)).items()}
    sigmoid = lambda values: 1 / (1 + np.exp(-np.asarray(values)))  # noqa: E731
    np.testing.assert_allclose(served["confidences"], sigmoid([[1.0, -1.0]]), rtol=1e-6)
    np.testing.assert_allclose(served["calibrated"], sigmoid([[1.5, -2.0]]), rtol=1e-6)
    np.testing.assert_allclose(served["probabilities"], sigmoid(raw), rtol=1e-6)
    np.testing.assert_allclose(calibration.recalibrate(served["confidences"]), served["calibrated"], rtol=1e-6)
    assert served["genres"].astype(str).tolist() == [["a", "b"]]
    found, columns = GenresOutput.from_served(served)
    assert found.genres == ["a", "b"]
    assert GenresOutput.from_served({**served, "genres": served["genres"][0]})[0] == found  # of version 0.1.0
    np.testing.assert_array_equal(columns, served["confidences"])
    assert GenresOutput.from_config({"genres": ["a"], "top_k": None, "calibration": None}) == GenresOutput(["a"])
    copy = GenresOutput.from_config(output.with_rule(DecisionRule("calibrated", 1)).get_config())
    assert copy.rule == DecisionRule("calibrated", 1)
    assert copy.calibration is not None
    np.testing.assert_array_equal(copy.calibration.thresholds, calibration.thresholds)
    with pytest.raises(ValueError, match="Received: calibration=None"):
        GenresOutput(["a"]).serve_all(tf.constant(folded))


def test_its_loss_is_the_recipes(context: OutputContext) -> None:
    assert GenresOutput.from_context(context).loss.get_config() == {"share": 0.6, "name": "mixed_soft_f1"}
    assert [metric.name for metric in GenresOutput.from_context(context).metrics][:2] == ["macro_f1", "precision"]
