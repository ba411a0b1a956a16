import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support

from tasks.outputs.metrics import F1ByLabel, PrecisionByLabel, RecallByLabel, make_macro_f1

LABELS = ["a", "b", "c"]
# a: tp 2, fp 1, fn 0; b: tp 0, fp 1, fn 2 (0.5 is not over 0.5); c: nothing to find, nothing found
Y_TRUE = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0]])
Y_PRED = np.array([[0.9, 0.6, 0.1], [0.6, 0.5, 0.2], [0.8, 0.1, 0.5]], np.float32)


def test_worked_by_hand() -> None:
    precision, recall, f1 = PrecisionByLabel(LABELS), RecallByLabel(LABELS), F1ByLabel(LABELS)
    for metric in (precision, recall, f1):
        metric.update_state(Y_TRUE, Y_PRED)
    assert [float(value) for value in precision.result().values()] == pytest.approx([2 / 3, 0, 0])
    assert [float(value) for value in recall.result().values()] == pytest.approx([1, 0, 0])
    assert {name: float(value) for name, value in f1.result().items()} == {
        "f1/a": pytest.approx(0.8),
        "f1/b": 0,
        "f1/c": 0,
    }
    macro = make_macro_f1(3)
    macro.update_state(Y_TRUE, Y_PRED)
    assert float(macro.result()) == pytest.approx(0.8 / 3)


def test_threshold_is_strict() -> None:
    metric = make_macro_f1(1, threshold=0.5)
    metric.update_state(np.array([[1], [1]]), np.array([[0.5], [0.5000001]]))
    assert float(metric.result()) == pytest.approx(2 / 3)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(2, 5), st.integers(1, 17), st.integers(0, 2**32 - 1))
def test_right_over_an_epoch_whatever_the_batch_size(examples: int, labels: int, batch_size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y_true = (rng.random((examples, labels)) < 0.3).astype(np.uint8)
    y_pred = rng.random((examples, labels), np.float32)
    names = [str(label) for label in range(labels)]
    metrics = [PrecisionByLabel(names), RecallByLabel(names), F1ByLabel(names), make_macro_f1(labels)]
    for start in range(0, examples, batch_size):
        for metric in metrics:
            metric.update_state(y_true[start : start + batch_size], y_pred[start : start + batch_size])
    expected = precision_recall_fscore_support(y_true, y_pred > 0.5, average=None, zero_division=0)
    for metric, values in zip(metrics[:3], expected[:3], strict=True):
        assert [float(value) for value in metric.result().values()] == pytest.approx(values, abs=1e-6)
    assert float(metrics[3].result()) == pytest.approx(expected[2].mean(), abs=1e-6)


def test_reset_and_config_round_trip() -> None:
    metric = F1ByLabel(LABELS, threshold=0.3, name="f")
    metric.update_state(Y_TRUE, Y_PRED)
    metric.reset_state()
    assert {float(value) for value in metric.result().values()} == {0.0}
    copy = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert (type(copy), copy.labels, copy.threshold, copy.name) == (F1ByLabel, LABELS, 0.3, "f")


def test_in_a_model_the_logs_carry_the_labels() -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Activation("linear")])
    model.compile(loss="mse", metrics=[make_macro_f1(2), F1ByLabel(["Drama", "War"])])
    y_true = np.array([[1, 0], [1, 1], [0, 1]])
    logs = model.evaluate(Y_PRED[:, :2], y_true, batch_size=1, verbose=0, return_dict=True)
    assert logs["f1/Drama"] == pytest.approx(0.8)
    assert logs["f1/War"] == 0
    assert logs["macro_f1"] == pytest.approx(0.4)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"between 0 and 1. Received: threshold=1.5"):
        PrecisionByLabel(LABELS, threshold=1.5)
    with pytest.raises(ValueError, match="sample_weight"):
        RecallByLabel(LABELS).update_state(Y_TRUE, Y_PRED, sample_weight=[1, 1, 1])
