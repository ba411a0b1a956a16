import keras
import numpy as np
import pytest
import tensorflow as tf

from tasks.outputs.losses import (
    AsymmetricLoss,
    DoubleSoftF1,
    MacroSoftF1,
    MixedSoftF1,
    SigmoidF1,
    SupervisedContrastive,
    make_loss,
)
from tasks.settings import TrainingSettings


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


def test_double_is_worked_by_hand() -> None:
    # There: tp 1.2, fp 0.2, fn 0.8 -> 1 - 2.4/3.4. Not there: tp 0.8, fp 0.8, fn 0.2 -> 1 - 1.6/2.6.
    loss = DoubleSoftF1()(np.array([[1], [1], [0]]), np.array([[0.8], [0.4], [0.2]], np.float32))
    assert float(loss) == pytest.approx((1 - 2.4 / 3.4 + 1 - 1.6 / 2.6) / 2, abs=1e-6)


def test_double_does_not_care_which_of_the_two_is_called_positive() -> None:
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.integers(0, 2, (50, 3)), rng.random((50, 3), np.float32)
    assert float(DoubleSoftF1()(y_true, y_pred)) == pytest.approx(float(DoubleSoftF1()(1 - y_true, 1 - y_pred)))


def test_mixed_is_worked_by_hand() -> None:
    # Soft-F1: tp 0.8, fp 0.5, fn 0.2. Cross-entropy: -log(0.8) and -log(0.5).
    y_true, y_pred = np.array([[1], [0]]), np.array([[0.8], [0.5]], np.float32)
    expected = 0.25 * (1 - 1.6 / 2.3) + 0.75 * (-np.log(0.8) - np.log(0.5)) / 2
    assert float(MixedSoftF1(share=0.25)(y_true, y_pred)) == pytest.approx(expected, abs=1e-5)
    assert float(MixedSoftF1(share=1.0)(y_true, y_pred)) == pytest.approx(float(MacroSoftF1()(y_true, y_pred)))


def test_sigmoid_is_worked_by_hand() -> None:
    # Probabilities of 0.8 and 0.5 are logits of log(4) and 0; with slope 0.5 and offset log(4) they become log(4) and
    # log(2), which are 0.8 and 2/3: tp 0.8, fp 2/3, fn 0.2.
    loss = SigmoidF1(slope=0.5, offset=np.log(4))(np.array([[1], [0]]), np.array([[0.8], [0.5]], np.float32))
    assert float(loss) == pytest.approx(1 - 1.6 / (1.6 + 2 / 3 + 0.2), abs=1e-6)


def test_sigmoid_with_slope_one_is_soft_f1_and_a_steep_one_decides() -> None:
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.integers(0, 2, (50, 3)), rng.random((50, 3), np.float32)
    assert float(SigmoidF1(slope=1.0)(y_true, y_pred)) == pytest.approx(float(MacroSoftF1()(y_true, y_pred)), abs=1e-5)
    decided = (y_pred > 0.5).astype(np.float32)
    steep = float(SigmoidF1(slope=1e4)(y_true, y_pred))
    assert steep == pytest.approx(float(MacroSoftF1()(y_true, decided)), abs=1e-3)


def test_asymmetric_is_worked_by_hand() -> None:
    y_true, y_pred = np.array([[1, 0], [0, 0]]), np.array([[0.5, 0.25], [0.65, 0.1]], np.float32)
    # -log(0.5); q = 0.1: 0.01 * -log(0.9); q = 0.5: 0.25 * -log(0.5); below the margin: nothing.
    expected = (np.log(2) - 0.01 * np.log(0.9) + 0.25 * np.log(2) + 0) / 4
    assert float(AsymmetricLoss(focus=2, margin=0.15)(y_true, y_pred)) == pytest.approx(expected, abs=1e-6)


def test_asymmetric_without_focus_and_margin_is_scikit_learns_cross_entropy() -> None:
    from sklearn.metrics import log_loss

    rng = np.random.default_rng(0)
    y_true, y_pred = rng.integers(0, 2, (50, 3)), rng.uniform(0.01, 0.99, (50, 3)).astype(np.float32)
    expected = np.mean([log_loss(y_true[:, column], y_pred[:, column]) for column in range(3)])
    assert float(AsymmetricLoss(focus=0, margin=0)(y_true, y_pred)) == pytest.approx(expected, rel=1e-4)


def test_the_share_of_soft_f1_is_that_of_the_settings() -> None:
    y_true, y_pred = np.array([[1.0], [0.0]]), np.array([[0.5], [0.25]])
    parts = [float(make_loss(name, 0.6)(y_true, y_pred)) for name in ("soft_f1", "binary_crossentropy")]
    assert float(make_loss("mixed_soft_f1", 0.6)(y_true, y_pred)) == pytest.approx(0.6 * parts[0] + 0.4 * parts[1])


@pytest.mark.parametrize("name", TrainingSettings.model_json_schema()["properties"]["loss"]["enum"])
def test_every_loss_falls_along_its_gradient(name: str) -> None:
    """With films in it that are as wrong as can be, too, where a gradient could be without bound."""
    y_true = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1]])
    logits = keras.Variable(np.where(y_true, -20.0, 20.0).astype(np.float32) * [[1.0], [0.1], [0.0]])
    with tf.GradientTape() as tape:
        loss = make_loss(name, 0.6)(y_true, keras.ops.sigmoid(logits))
    gradient = tape.gradient(loss, logits.value).numpy()
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0
    logits.assign_sub(0.1 * gradient)
    assert float(make_loss(name, 0.6)(y_true, keras.ops.sigmoid(logits))) < float(loss)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SigmoidF1(slope=0),
        lambda: MixedSoftF1(share=1.5),
        lambda: AsymmetricLoss(focus=0.5),
        lambda: AsymmetricLoss(focus=-1),
        lambda: AsymmetricLoss(margin=1),
    ],
)
def test_constants_that_make_no_sense_are_refused(make) -> None:
    with pytest.raises(ValueError, match="Received"):
        make()


@pytest.mark.parametrize(
    "loss",
    [
        MacroSoftF1(name="mine"),
        DoubleSoftF1(name="mine"),
        MixedSoftF1(0.5, name="mine"),
        SigmoidF1(2.0, 0.5, name="mine"),
        AsymmetricLoss(2.0, 0.1, name="mine"),
    ],
)
def test_config_round_trip(loss: keras.losses.Loss) -> None:
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()
    assert again.name == "mine"


def test_supervised_contrastive_is_worked_by_hand() -> None:
    # Of four films the first shares one of two genres with the second and one of one with the third; the fourth is
    # alone. Embeddings along the axes: products are 0, or 1 of the first and the second.
    y_true = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 1]])
    y_pred = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    temperature = 0.5
    near, far = np.exp(1 / temperature), 1.0
    # By film, of the others: log of the share of the near one and of a far one, weighed by Jaccard.
    first = -(0.5 * np.log(near / (near + 2 * far)) + 1.0 * np.log(far / (near + 2 * far))) / 1.5
    second = -(0.5 * np.log(near / (near + 2 * far)) + 0.5 * np.log(far / (near + 2 * far))) / 1.0
    third = -np.log(1 / 3)
    loss = SupervisedContrastive(temperature)(y_true, y_pred)
    assert float(loss) == pytest.approx((first + second + third) / 3, abs=1e-5)


def test_supervised_contrastive_of_films_that_share_nothing_is_nothing() -> None:
    loss = SupervisedContrastive()(np.eye(3), np.eye(3, dtype=np.float32))
    assert float(loss) == 0
    with pytest.raises(ValueError, match="temperature must be over 0"):
        SupervisedContrastive(0)


def test_supervised_contrastive_has_a_finite_gradient() -> None:
    embeddings = tf.Variable(tf.math.l2_normalize(tf.random.stateless_normal([16, 4], seed=[0, 1]), axis=1))
    y_true = np.random.default_rng(0).integers(0, 2, (16, 3))
    with tf.GradientTape() as tape:
        loss = SupervisedContrastive(0.05)(y_true, embeddings)
    assert np.isfinite(tape.gradient(loss, embeddings)).all()
