from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.metrics import f1_score

from tasks.settings import TrainingSettings
from tasks.training import fitting
from tasks.training import head as head_module
from tasks.training.examples import Examples
from tasks.training.fitting import fit_head, write_tensorboard
from tasks.training.head import Moments, build_head, measure_moments, run_head
from tasks.training.losses import MacroSoftF1
from tasks.training.metrics import MacroF1

VOCABULARY = ["a", "b"]
SETTINGS = TrainingSettings(hidden_units=32, epochs=8, batch_size=64, learning_rate=3e-3)


def make_examples(make_matrix, num_films: int, seed: int) -> Examples:
    """Films whose two genres are the signs of two features of twelve."""
    features = np.random.default_rng(seed).normal(size=(num_films, 12))
    return Examples(list(range(num_films)), make_matrix(features), (features[:, :2] > 0).astype(np.uint8))


@pytest.fixture(scope="module")
def train(make_matrix) -> Examples:
    return make_examples(make_matrix, 600, 0)


@pytest.fixture(scope="module")
def validation(make_matrix) -> Examples:
    return make_examples(make_matrix, 200, 1)


@pytest.mark.parametrize("loss", ["soft_f1", "binary_crossentropy"])
def test_learns_what_can_be_learned(train: Examples, validation: Examples, loss: str) -> None:
    settings = SETTINGS.model_copy(update={"loss": loss, "epochs": 40, "learning_rate": 1e-2, "dropout": 0.1})
    fitted = fit_head(train, validation, VOCABULARY, settings, seed=0)
    decisions = run_head(fitted.head, validation.features) > 0.5
    assert fitted.validation_macro_f1 > 0.9
    # The weights kept are those of the epoch that is reported, and the metric is the pooled one.
    assert fitted.validation_macro_f1 == pytest.approx(f1_score(validation.genre_targets, decisions, average="macro"))
    assert fitted.history["val_macro_f1"].max() == fitted.validation_macro_f1
    assert fitted.history["epoch"].iloc[fitted.history["val_macro_f1"].argmax()] == fitted.best_epoch
    assert {"loss", "val_loss", "f1/a", "val_precision/b", "val_recall/a"} <= set(fitted.history)


def test_same_seed_same_weights(train: Examples, validation: Examples) -> None:
    first, second, other = (
        fit_head(train, validation, VOCABULARY, SETTINGS.model_copy(update={"epochs": 2}), seed=seed)
        for seed in (0, 0, 1)
    )
    for one, two in zip(first.head.get_weights(), second.head.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert first.history.equals(second.history)
    assert not first.history.equals(other.history)


def test_stops_when_validation_gets_no_better(train: Examples, validation: Examples) -> None:
    noise = Examples(validation.imdb_ids, validation.features, validation.genre_targets[::-1])
    settings = SETTINGS.model_copy(update={"epochs": 60, "patience": 2})
    fitted = fit_head(train, noise, VOCABULARY, settings, seed=0)
    assert len(fitted.history) == fitted.best_epoch + 2 < 60


def test_without_patience_every_epoch_is_run(train: Examples, validation: Examples) -> None:
    fitted = fit_head(train, validation, VOCABULARY, SETTINGS.model_copy(update={"patience": None}), seed=0)
    assert len(fitted.history) == 8


def test_the_loop_does_what_keras_does(train: Examples, validation: Examples) -> None:
    """With all films in one batch and no dropout there is no chance in it."""
    settings = SETTINGS.model_copy(update={"dropout": 0.0, "batch_size": 600, "epochs": 5, "patience": None})
    fitted = fit_head(train, validation, VOCABULARY, settings, seed=3)
    features, on_validation = train.features.read().astype(np.float32), validation.features.read().astype(np.float32)
    head = build_head(2, settings, 12, measure_moments(train.features), seed=3)
    head.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, 5)), MacroSoftF1(), metrics=[MacroF1(2)]
    )
    log = head.fit(
        features, train.genre_targets, 600, 5, validation_data=(on_validation, validation.genre_targets), verbose=0
    )
    for name in ("loss", "macro_f1", "val_macro_f1"):
        np.testing.assert_allclose(fitted.history[name], log.history[name], rtol=1e-4)
    # Keras's own weights are those of the last epoch.
    assert fitted.best_epoch == 5
    for one, other in zip(fitted.head.get_weights(), head.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_every_film_is_shown_once_an_epoch_however_small_the_chunks(
    train: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "_BATCHES_PER_CHUNK", 3)
    chunks = fitting._Chunks(train, 64)
    assert chunks.num_batches == 10
    shown = list(chunks.shuffled(np.random.default_rng(0)))
    assert sorted(len(features) for features, _ in shown) == [24, 192, 192, 192]
    for axis in (0, 1):
        together = np.concatenate([chunk[axis] for chunk in shown])
        everything = (train.features.read(), train.genre_targets)[axis]
        assert not np.array_equal(together, everything)
        np.testing.assert_array_equal(np.sort(together, axis=0), np.sort(everything, axis=0))


def test_learns_from_small_chunks_too(train: Examples, validation: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "_BATCHES_PER_CHUNK", 2)
    settings = SETTINGS.model_copy(update={"epochs": 40, "learning_rate": 1e-2, "dropout": 0.1})
    assert fit_head(train, validation, VOCABULARY, settings, seed=0).validation_macro_f1 > 0.9


def test_tensorboard_gets_every_figure(tmp_path: Path) -> None:
    history = pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.25], "val_loss": [0.75, 1.0]})
    write_tensorboard(history, tmp_path)
    found = {}
    for split in ("train", "validation"):
        (path,) = (tmp_path / split).iterdir()
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                found[split, value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    assert found == {
        ("train", "loss", 1): 0.5,
        ("train", "loss", 2): 0.25,
        ("validation", "loss", 1): 0.75,
        ("validation", "loss", 2): 1.0,
    }


def test_moments_of_several_pieces(make_matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.random.default_rng(0).normal(3, 2, size=(50, 4)).astype(np.float16)
    monkeypatch.setattr(head_module, "_ROWS_AT_ONCE", 16)
    mean, variance = measure_moments(make_matrix(features))
    np.testing.assert_allclose(mean, features.astype(np.float64).mean(axis=0))
    np.testing.assert_allclose(variance, features.astype(np.float64).var(axis=0))


def test_a_feature_that_is_constant_in_training_does_no_harm(train: Examples, make_matrix) -> None:
    features = train.features.read()
    features[:, 5] = 1.0
    head = build_head(2, SETTINGS, 12, measure_moments(make_matrix(features)), seed=0)
    shifted = features[:4].copy()
    shifted[:, 5] = 1.01
    difference = run_head(head, make_matrix(shifted)) - run_head(head, make_matrix(features), 4)
    assert np.abs(difference).max() < 0.5
    assert np.isfinite(difference).all()


def test_parts_of_the_head_are_there_as_the_settings_say() -> None:
    def layers(recipe: str, moments: Moments | None) -> list[str]:
        head = build_head(2, TrainingSettings(recipe=recipe), 12, moments, seed=0)
        return [type(layer).__name__ for layer in head.layers[1:]]

    assert layers("seed", None) == ["Dense", "Dense", "Activation"]
    moments = (np.zeros(12), np.ones(12))
    assert layers("default", moments) == ["Normalization", "Dropout", "Dense", "Dropout", "Dense", "Activation"]


def test_without_taps_a_head_learns_from_the_last_layer_alone(make_matrix) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(80, 1290))
    examples = Examples(list(range(80)), make_matrix(features), (features[:, -2:] > 0).astype(np.uint8))
    settings = SETTINGS.model_copy(update={"taps": False, "epochs": 1})
    fitted = fit_head(examples, examples, VOCABULARY, settings, seed=0)
    assert fitted.head.input.shape == (None, 1280)
    # It is asked about what it was trained on, whatever there is beside.
    of_last = make_matrix(features[:, :1280])
    np.testing.assert_array_equal(run_head(fitted.head, examples.features), run_head(fitted.head, of_last))
    with_taps = fit_head(examples, examples, VOCABULARY, settings.model_copy(update={"taps": True}), seed=0)
    assert with_taps.head.input.shape == (None, 1290)
