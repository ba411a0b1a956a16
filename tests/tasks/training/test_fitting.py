from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.metrics import f1_score

from tasks.settings import HeadSettings, TrainingSettings
from tasks.training import fitting
from tasks.training import head as head_module
from tasks.training.examples import Examples
from tasks.training.fitting import fit_head, write_tensorboard
from tasks.training.head import Moments, build_head, measure_moments, run_head, take_embedding
from tasks.training.losses import MacroSoftF1
from tasks.training.metrics import MacroF1
from tasks.training.outputs import EmbeddingOutput, GenresOutput

VOCABULARY = ["a", "b"]
SETTINGS = TrainingSettings(hidden_units=32, epochs=8, batch_size=64, learning_rate=3e-3)
GENRES_OUTPUT = GenresOutput(VOCABULARY, 1.0, MacroSoftF1())


def make_examples(make_matrix, num_films: int, seed: int) -> Examples:
    """Films whose two genres are the signs of two features of twelve.

    The third says the decade, and the fourth the score; every second film has none.
    """
    features = np.random.default_rng(seed).normal(size=(num_films, 12))
    known = np.arange(num_films) % 2
    return Examples(
        list(range(num_films)),
        make_matrix(features),
        genre_targets=(features[:, :2] > 0).astype(np.uint8),
        years=np.where(features[:, 2] > 0, 1994, 2003).astype(np.int32) * known,
        scores=(np.clip(6 + features[:, 3], 1, 10) * known).astype(np.float32),
    )


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
    decisions = run_head(fitted.head, validation.features)["genres"] > 0.5
    assert fitted.validation_macro_f1 > 0.9
    # The weights kept are those of the epoch that is reported, and the metric is the pooled one.
    assert fitted.validation_macro_f1 == pytest.approx(f1_score(validation.genre_targets, decisions, average="macro"))
    assert fitted.history["val_macro_f1"].max() == fitted.validation_macro_f1
    assert fitted.history["epoch"].iloc[fitted.history["val_macro_f1"].argmax()] == fitted.best_epoch
    assert {"loss", "val_loss", "f1/a", "val_precision/b", "val_recall/a"} <= set(fitted.history)


def test_all_outputs_are_learned_together_and_told_of_apart(train: Examples, validation: Examples) -> None:
    settings = SETTINGS.model_copy(update={"epochs": 60, "learning_rate": 1e-2, "dropout": 0.1, "patience": None})
    heads = HeadSettings(decade=0.5, score=0.5, embedding=0.5, embedding_size=4)
    fitted = fit_head(train, validation, VOCABULARY, settings, seed=0, heads=heads)
    answers = run_head(fitted.head, validation.features)
    assert {name: of.shape for name, of in answers.items()} == {
        "genres": (200, 2),
        "decade": (200, 2),
        "score": (200, 1),
        "embedding": (200, 4),
    }
    dated, scored = validation.years > 0, validation.scores > 0
    best = fitted.history.iloc[fitted.best_epoch - 1]
    accuracy = np.mean(
        np.array([1990, 2000])[answers["decade"].argmax(axis=1)][dated] == validation.years[dated] // 10 * 10
    )
    assert best["val_decade_accuracy"] == pytest.approx(accuracy)
    assert accuracy > 0.85
    difference = np.abs(answers["score"][:, 0] - validation.scores)[scored].mean()
    assert best["val_score_mean_absolute_error"] == pytest.approx(difference, rel=1e-4)
    assert difference < 0.6 * np.abs(validation.scores[scored] - np.median(train.scores[train.scores > 0])).mean()
    assert fitted.validation_macro_f1 > 0.85
    losses = [best[f"val_{name}_loss"] for name in ("genres", "decade", "score", "embedding")]
    assert best["val_loss"] == pytest.approx(losses[0] + 0.5 * sum(losses[1:]), rel=1e-4)
    np.testing.assert_allclose(np.linalg.norm(answers["embedding"], axis=1), 1, atol=1e-5)


def test_an_output_of_no_weight_to_speak_of_does_not_change_the_genres(train: Examples, validation: Examples) -> None:
    settings = SETTINGS.model_copy(update={"epochs": 3, "dropout": 0.0})
    alone = fit_head(train, validation, VOCABULARY, settings, seed=0)
    beside = fit_head(train, validation, VOCABULARY, settings, seed=0, heads=HeadSettings(decade=1e-9, score=1e-9))
    np.testing.assert_allclose(beside.history["val_macro_f1"], alone.history["val_macro_f1"], atol=1e-3)


def test_the_embedding_is_the_hidden_layer_unless_there_is_an_output_for_it(train: Examples, make_matrix) -> None:
    features = train.features.read()[:5].astype(np.float32)
    alone = build_head([GENRES_OUTPUT], SETTINGS, 12, None, seed=0)
    hidden = np.maximum(features @ alone.get_layer("hidden").kernel.numpy() + alone.get_layer("hidden").bias.numpy(), 0)
    expected = hidden / np.linalg.norm(hidden, axis=1, keepdims=True)
    np.testing.assert_allclose(take_embedding(alone)(features)["embedding"], expected, atol=1e-5)
    with_output = build_head([GENRES_OUTPUT, EmbeddingOutput(4, 2, 1.0, 0.2)], SETTINGS, 12, None, seed=0)
    of_output = run_head(with_output, make_matrix(features))["embedding"]
    assert of_output.shape == (5, 4)
    np.testing.assert_allclose(take_embedding(with_output)(features)["embedding"], of_output, atol=1e-2)


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
    noise = replace(validation, genre_targets=validation.genre_targets[::-1])
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
    head = build_head([GENRES_OUTPUT], settings, 12, measure_moments(train.features), seed=3)
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, 5)
    head.compile(keras.optimizers.Adam(schedule), {"genres": MacroSoftF1()}, metrics={"genres": [MacroF1(2)]})
    targets, of_validation = ({"genres": examples.genre_targets} for examples in (train, validation))
    log = head.fit(features, targets, 600, 5, validation_data=(on_validation, of_validation), verbose=0)
    for name in ("loss", "macro_f1", "val_macro_f1"):
        keras_name = name if name in log.history else name.replace("macro", "genres_macro")
        np.testing.assert_allclose(fitted.history[name], log.history[keras_name], rtol=1e-4)
    # Keras's own weights are those of the last epoch.
    assert fitted.best_epoch == 5
    for one, other in zip(fitted.head.get_weights(), head.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_every_film_is_shown_once_an_epoch_however_small_the_chunks(
    train: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "_BATCHES_PER_CHUNK", 3)
    chunks = fitting._Chunks(train, [GENRES_OUTPUT], 64)
    assert chunks.num_batches == 10
    shown = list(chunks.shuffled(np.random.default_rng(0)))
    assert sorted(len(features) for features, _ in shown) == [24, 192, 192, 192]
    for together, everything in (
        (np.concatenate([features for features, _ in shown]), train.features.read()),
        (np.concatenate([targets["genres"] for _, targets in shown]), train.genre_targets),
    ):
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
    head = build_head([GENRES_OUTPUT], SETTINGS, 12, measure_moments(make_matrix(features)), seed=0)
    shifted = features[:4].copy()
    shifted[:, 5] = 1.01
    after, before = run_head(head, make_matrix(shifted)), run_head(head, make_matrix(features), 4)
    difference = after["genres"] - before["genres"]
    assert np.abs(difference).max() < 0.5
    assert np.isfinite(difference).all()


def test_parts_of_the_head_are_there_as_the_settings_say() -> None:
    def layers(recipe: str, moments: Moments | None) -> list[str]:
        head = build_head([GENRES_OUTPUT], TrainingSettings(recipe=recipe), 12, moments, seed=0)
        return [type(layer).__name__ for layer in head.layers[1:]]

    assert layers("seed", None) == ["Dense", "Dense", "Activation"]
    moments = (np.zeros(12), np.ones(12))
    assert layers("default", moments) == ["Normalization", "Dropout", "Dense", "Dropout", "Dense", "Activation"]


def test_without_taps_a_head_learns_from_the_last_layer_alone(make_matrix) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(80, 1290))
    targets = (features[:, -2:] > 0).astype(np.uint8)
    examples = Examples(list(range(80)), make_matrix(features), targets, np.zeros(80, np.int32), np.zeros(80))
    settings = SETTINGS.model_copy(update={"taps": False, "epochs": 1})
    fitted = fit_head(examples, examples, VOCABULARY, settings, seed=0)
    assert fitted.head.input.shape == (None, 1280)
    # It is asked about what it was trained on, whatever there is beside.
    of_last = make_matrix(features[:, :1280])
    asked = [run_head(fitted.head, matrix)["genres"] for matrix in (examples.features, of_last)]
    np.testing.assert_array_equal(*asked)
    with_taps = fit_head(examples, examples, VOCABULARY, settings.model_copy(update={"taps": True}), seed=0)
    assert with_taps.head.input.shape == (None, 1290)
