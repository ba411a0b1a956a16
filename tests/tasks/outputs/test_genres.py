import numpy as np
import pytest
import tensorflow as tf

from tasks.outputs.calibration import Calibration
from tasks.outputs.genres import GenresOutput, compare_labels
from tasks.outputs.output import OutputContext

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


def test_columns_are_decoded_as_the_model_serves_them() -> None:
    output = GenresOutput(NAMES).with_top_k(2)
    columns = np.array([[0.9, 0.2, 0.5], [0.5, 0.5, 0.5]], np.float32)
    assert output.decode(columns) == [
        {"labels": ["a", "c"], "confidences": pytest.approx([0.9, 0.5])},
        {"labels": ["a", "b"], "confidences": [0.5, 0.5]},  # of equal ones the first
    ]
    served = output.serve(tf.math.log(columns / (1 - columns)))
    assert served["labels"].numpy().astype(str).tolist() == [["a", "c"], ["a", "b"]]
    np.testing.assert_allclose(served["confidences"], [[0.9, 0.5], [0.5, 0.5]], rtol=1e-6)
    assert GenresOutput(NAMES).with_top_k(5).top_k == 3


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
    found, columns = GenresOutput.from_served(served)
    assert found.genres == ["a", "b"]
    np.testing.assert_array_equal(columns, served["confidences"])
    copy = GenresOutput.from_config(output.get_config())
    assert copy.calibration is not None
    np.testing.assert_array_equal(copy.calibration.thresholds, calibration.thresholds)
    with pytest.raises(ValueError, match="Received: calibration=None"):
        GenresOutput(["a"]).serve_all(tf.constant(folded))


def test_its_loss_is_the_recipes(context: OutputContext) -> None:
    assert GenresOutput.from_context(context).loss.name == "macro_soft_f1"
    assert [metric.name for metric in GenresOutput.from_context(context).metrics][:2] == ["macro_f1", "precision"]
