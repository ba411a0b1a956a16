import keras
import numpy as np
import pytest

from tasks.training.losses import MacroSoftF1


@pytest.mark.parametrize(
    ("y_true", "y_pred", "loss"),
    [
        ([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]], 0.0),  # perfect
        ([[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]], 1.0),  # worst
        # label 0: tp 1.2, fp 0.2, fn 0.8 -> 1 - 2.4/3.4; label 1: tp 0.7, fp 1.0, fn 0.3 -> 1 - 1.4/2.7
        ([[1, 0], [1, 0], [0, 1]], [[0.8, 0.6], [0.4, 0.4], [0.2, 0.7]], (1 - 2.4 / 3.4 + 1 - 1.4 / 2.7) / 2),
        ([[0.0], [0.0]], [[0.5], [0.5]], 1.0),  # a label that nothing has
        ([[0.0], [0.0]], [[0.0], [0.0]], 1.0),  # ... and nothing is said to have
    ],
)
def test_worked_by_hand(y_true: list[list[float]], y_pred: list[list[float]], loss: float) -> None:
    assert float(MacroSoftF1()(np.array(y_true), np.array(y_pred, np.float32))) == pytest.approx(loss, abs=1e-6)


def test_on_decisions_it_is_one_minus_macro_f1() -> None:
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    y_true, y_pred = rng.integers(0, 2, (200, 7)), rng.integers(0, 2, (200, 7))
    expected = 1 - f1_score(y_true, y_pred, average="macro")
    assert float(MacroSoftF1()(y_true, y_pred.astype(np.float32))) == pytest.approx(expected, abs=1e-6)


def test_config_round_trip() -> None:
    loss = keras.losses.deserialize(keras.losses.serialize(MacroSoftF1(name="mine")))
    assert isinstance(loss, MacroSoftF1)
    assert loss.name == "mine"
