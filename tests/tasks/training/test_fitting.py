import random
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

from tasks.features.matrix import FeatureViews
from tasks.outputs.embedding import EmbeddingOutput
from tasks.outputs.genres import GenresOutput
from tasks.outputs.losses import MacroSoftF1
from tasks.outputs.metrics import make_macro_f1
from tasks.settings import HeadSettings, TrainingSettings
from tasks.training import fitting
from tasks.training import head as head_module
from tasks.training.examples import Examples, TrainingData
from tasks.training.fitting import fit_head, fit_heads, write_tensorboard
from tasks.training.head import (
    build_embedding_model,
    build_head,
    build_logits_model,
    fit_scaler,
    predict,
    predict_confidences,
)

GENRES = ["a", "b"]
SETTINGS = TrainingSettings(recipe="fast", hidden_units=32, epochs=8, batch_size=64, learning_rate=3e-3)
GENRES_OUTPUT = GenresOutput(GENRES)


def make_examples(make_matrix, num_films: int, seed: int) -> Examples:
    """Films whose two genres are the signs of two features of twelve.

    The third says the decade, and the fourth the score; every second film has none.
    """
    features = np.random.default_rng(seed).normal(size=(num_films, 12))
    known = np.arange(num_films) % 2
    films = pd.DataFrame(
        {
            "year": np.where(features[:, 2] > 0, 1994, 2003) * known,
            "score": (np.clip(6 + features[:, 3], 1, 10) * known).astype(np.float32),
        }
    )
    return Examples(films, make_matrix(features), genre_targets=(features[:, :2] > 0).astype(np.uint8))


@pytest.fixture(scope="module")
def train(make_matrix) -> Examples:
    return make_examples(make_matrix, 600, 0)


@pytest.fixture(scope="module")
def validation(make_matrix) -> Examples:
    return make_examples(make_matrix, 200, 1)


@pytest.mark.parametrize("loss", ["soft_f1", "binary_crossentropy"])
def test_learns_what_can_be_learned(train: Examples, validation: Examples, loss: str) -> None:
    settings = SETTINGS.model_copy(update={"loss": loss, "epochs": 40, "learning_rate": 1e-2, "dropout": 0.1})
    fitted = fit_head(TrainingData(train, validation, GENRES), settings, seed=0)
    decisions = predict(fitted.head, validation.features)["genres"] > 0.5
    assert fitted.validation_macro_f1 > 0.9
    # The weights kept are those of the epoch that is reported, and the metric is the pooled one.
    assert fitted.validation_macro_f1 == pytest.approx(f1_score(validation.genre_targets, decisions, average="macro"))
    assert fitted.history["val_macro_f1"].iloc[-1] == fitted.validation_macro_f1
    assert {"loss", "val_loss", "f1/a", "val_precision/b", "val_recall/a"} <= set(fitted.history)


def test_all_outputs_are_learned_together(train: Examples, validation: Examples) -> None:
    settings = SETTINGS.model_copy(update={"epochs": 60, "learning_rate": 1e-2, "dropout": 0.1})
    heads = HeadSettings(decade=0.5, score=0.5, embedding=0.5, embedding_size=4)
    fitted = fit_head(TrainingData(train, validation, GENRES), settings, seed=0, heads=heads)
    predictions = predict(fitted.head, validation.features)
    assert {name: values.shape for name, values in predictions.items()} == {
        "genres": (200, 2),
        "decade": (200, 2),
        "score": (200, 1),
        "embedding": (200, 4),
    }
    years, scores = (validation.films[name].to_numpy() for name in ("year", "score"))
    train_scores = train.films["score"].to_numpy()
    dated, scored = years > 0, scores > 0
    best = fitted.history.iloc[fitted.best_epoch - 1]
    accuracy = np.mean(np.array([1990, 2000])[predictions["decade"].argmax(axis=1)][dated] == years[dated] // 10 * 10)
    assert best["val_decade_accuracy"] == pytest.approx(accuracy)
    assert accuracy > 0.85
    difference = np.abs(predictions["score"][:, 0] - scores)[scored].mean()
    assert best["val_score_mean_absolute_error"] == pytest.approx(difference, rel=1e-4)
    assert difference < 0.6 * np.abs(scores[scored] - np.median(train_scores[train_scores > 0])).mean()
    assert fitted.validation_macro_f1 > 0.85
    losses = [best[f"val_{name}_loss"] for name in ("genres", "decade", "score", "embedding")]
    assert best["val_loss"] == pytest.approx(losses[0] + 0.5 * sum(losses[1:]), rel=1e-4)
    np.testing.assert_allclose(np.linalg.norm(predictions["embedding"], axis=1), 1, atol=1e-5)


def test_an_output_of_negligible_weight_does_not_change_the_genres(train: Examples, validation: Examples) -> None:
    settings = SETTINGS.model_copy(update={"epochs": 3, "dropout": 0.0})
    alone = fit_head(TrainingData(train, validation, GENRES), settings, seed=0)
    beside = fit_head(
        TrainingData(train, validation, GENRES), settings, seed=0, heads=HeadSettings(decade=1e-9, score=1e-9)
    )
    np.testing.assert_allclose(beside.history["val_macro_f1"], alone.history["val_macro_f1"], atol=1e-3)


def test_the_embedding_is_the_hidden_layer_without_an_output_of_its_own(train: Examples, make_matrix) -> None:
    features = train.features.read()[:5].astype(np.float32)
    alone = build_head([GENRES_OUTPUT], SETTINGS, 12, None, seed=0)
    hidden = np.maximum(features @ alone.get_layer("hidden").kernel.numpy() + alone.get_layer("hidden").bias.numpy(), 0)
    expected = hidden / np.linalg.norm(hidden, axis=1, keepdims=True)
    np.testing.assert_allclose(build_embedding_model(alone)(features)["embedding"], expected, atol=1e-5)
    with_output = build_head([GENRES_OUTPUT, EmbeddingOutput(4, 2, 0.2)], SETTINGS, 12, None, seed=0)
    output = predict(with_output, make_matrix(features))["embedding"]
    assert output.shape == (5, 4)
    np.testing.assert_allclose(build_embedding_model(with_output)(features)["embedding"], output, atol=1e-2)


def test_same_seed_same_weights(train: Examples, validation: Examples) -> None:
    first, second, other = (
        fit_head(TrainingData(train, validation, GENRES), SETTINGS.model_copy(update={"epochs": 2}), seed=seed)
        for seed in (0, 0, 1)
    )
    for one, two in zip(first.head.get_weights(), second.head.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert first.history.equals(second.history)
    assert not first.history.equals(other.history)


def test_stops_when_validation_gets_no_better(train: Examples, validation: Examples) -> None:
    noise = replace(validation, genre_targets=validation.genre_targets[::-1])
    settings = SETTINGS.model_copy(update={"epochs": 60, "patience": 2})
    epochs: list[int] = []
    fitted = fit_head(TrainingData(train, noise, GENRES), settings, seed=0, on_epochs=epochs.append)
    assert len(fitted.history) == fitted.best_epoch + 2 < 60
    assert epochs == [1] * len(fitted.history) + [60 - len(fitted.history)]
    # The weights are those of the best epoch.
    assert fitted.history["val_macro_f1"].max() == fitted.validation_macro_f1
    decisions = predict(fitted.head, noise.features)["genres"] > 0.5
    assert fitted.validation_macro_f1 == pytest.approx(f1_score(noise.genre_targets, decisions, average="macro"))


def test_without_patience_every_epoch_is_run_and_the_last_one_kept(train: Examples, validation: Examples) -> None:
    fitted = fit_head(TrainingData(train, validation, GENRES), SETTINGS, seed=0)
    assert len(fitted.history) == fitted.best_epoch == 8


def test_the_loop_equals_keras_fit(train: Examples, validation: Examples) -> None:
    """With all films in one batch and no dropout nothing is random."""
    settings = SETTINGS.model_copy(update={"dropout": 0.0, "batch_size": 600, "epochs": 5})
    fitted = fit_head(TrainingData(train, validation, GENRES), settings, seed=3)
    features, on_validation = train.features.read().astype(np.float32), validation.features.read().astype(np.float32)
    head = build_head([GENRES_OUTPUT], settings, 12, fit_scaler(train.features), seed=3)
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, 5)
    head.compile(keras.optimizers.Adam(schedule), {"genres": MacroSoftF1()}, metrics={"genres": [make_macro_f1(2)]})
    targets, validation_targets = ({"genres": examples.genre_targets} for examples in (train, validation))
    log = head.fit(features, targets, 600, 5, validation_data=(on_validation, validation_targets), verbose=0)
    for name in ("loss", "macro_f1", "val_macro_f1"):
        keras_name = name if name in log.history else name.replace("macro", "genres_macro")
        np.testing.assert_allclose(fitted.history[name], log.history[keras_name], rtol=1e-4)
    # Keras's own weights are those of the last epoch.
    assert fitted.best_epoch == 5
    for one, other in zip(fitted.head.get_weights(), head.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_films_are_shuffled_anew_each_epoch(train: Examples, validation: Examples) -> None:
    """Equals Keras on the batches of each epoch's permutation; in the films' own order the weights are others."""
    settings = SETTINGS.model_copy(update={"dropout": 0.0, "batch_size": 300, "epochs": 2})
    settings = settings.model_copy(update={"schedule": "constant"})
    fitted = fit_head(TrainingData(train, validation, GENRES), settings, seed=3)
    assert fitted.best_epoch == 2  # whose weights are kept
    features = train.features.read().astype(np.float32)

    def train_in(orders: list[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        head = build_head([GENRES_OUTPUT], settings, 12, fit_scaler(train.features), seed=3)
        head.compile(keras.optimizers.Adam(settings.learning_rate), {"genres": MacroSoftF1()})
        for order in orders:
            for rows in (order[:300], order[300:]):
                head.train_on_batch(features[rows], {"genres": train.genre_targets[rows]})
        return list(head.get_weights())

    rng = np.random.default_rng(3)
    orders = []
    for _ in range(2):
        rng.permutation([0])  # the order of the chunks, of which there is one
        orders.append(rng.permutation(600))
    for one, other in zip(fitted.head.get_weights(), train_in(orders), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    in_order = train_in([np.arange(600)] * 2)
    assert any(np.abs(one - other).max() > 1e-3 for one, other in zip(fitted.head.get_weights(), in_order, strict=True))


def test_every_film_is_shown_once_an_epoch_however_small_the_chunks(
    train: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "_BATCHES_PER_CHUNK", 3)
    chunks = fitting._Chunks(train, [GENRES_OUTPUT], 64)
    assert chunks.num_batches == 10
    in_order = list(chunks.in_order())
    shown = list(chunks.shuffled(np.random.default_rng(0)))
    everything = train.features.read()
    for pieces in (in_order, shown):
        assert [len(features) for features, _ in pieces] == [192, 192, 192, 24]
    for together, expected in (
        (np.concatenate([features for features, _ in shown]), everything),
        (np.concatenate([targets["genres"] for _, targets in shown]), train.genre_targets),
    ):
        assert not np.array_equal(together, expected)
        np.testing.assert_array_equal(np.sort(together, axis=0), np.sort(expected, axis=0))
    np.testing.assert_array_equal(np.concatenate([features for features, _ in in_order]), everything)
    # Each film has its own targets.
    rows = {tuple(features): tuple(targets) for features, targets in zip(everything, train.genre_targets, strict=True)}
    for features, targets in shown:
        assert [rows[tuple(film)] for film in features] == [tuple(film) for film in targets["genres"]]


def test_the_films_of_a_chunk_come_from_all_over_the_table(make_matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalog may be sorted by year: films that follow one another are like one another."""
    monkeypatch.setattr(fitting, "_BATCHES_PER_CHUNK", 8)
    examples = replace(
        make_examples(make_matrix, 640, 0), features=make_matrix(np.arange(640, dtype=np.float32)[:, np.newaxis])
    )
    chunks = fitting._Chunks(examples, [GENRES_OUTPUT], 16)
    rng = np.random.default_rng(0)
    epochs = [[features[:, 0] for features, _ in chunks.shuffled(rng)] for _ in range(2)]
    for rows in epochs[0][:-1]:
        assert len(rows) == 128
        assert len(np.unique(rows // 128)) >= 3  # of five stretches of the table
        assert np.ptp(rows) > 256
    assert not np.array_equal(*(np.concatenate(epoch) for epoch in epochs))
    again = [features[:, 0] for features, _ in chunks.shuffled(np.random.default_rng(0))]
    np.testing.assert_array_equal(np.concatenate(again), np.concatenate(epochs[0]))


def test_views_are_drawn_anew_for_each_chunk_and_epoch(make_matrix) -> None:
    views = [np.full((128, 1), view) for view in range(3)]
    features = FeatureViews([matrix for view in views for matrix in make_matrix(view)._matrices])
    chunks = fitting._Chunks(replace(make_examples(make_matrix, 128, 0), features=features), [GENRES_OUTPUT], 16)
    rng = np.random.default_rng(0)
    first, second = (next(chunks.shuffled(rng))[0][:, 0] for _ in range(2))
    assert set(first) == set(second) == {0, 1, 2}
    assert not np.array_equal(first, second)


def test_learns_from_small_chunks_too(train: Examples, validation: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "_BATCHES_PER_CHUNK", 2)
    settings = SETTINGS.model_copy(update={"epochs": 40, "learning_rate": 1e-2, "dropout": 0.1})
    assert fit_head(TrainingData(train, validation, GENRES), settings, seed=0).validation_macro_f1 > 0.9


def test_tensorboard_gets_every_value(tmp_path: Path) -> None:
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
    scaler = fit_scaler(make_matrix(features))
    np.testing.assert_allclose(scaler.mean_, features.astype(np.float64).mean(axis=0))
    np.testing.assert_allclose(scaler.var_, features.astype(np.float64).var(axis=0))


def test_a_feature_that_is_constant_in_training_is_harmless(train: Examples, make_matrix) -> None:
    features = train.features.read()
    features[:, 5] = 1.0
    head = build_head([GENRES_OUTPUT], SETTINGS, 12, fit_scaler(make_matrix(features)), seed=0)
    shifted = features[:4].copy()
    shifted[:, 5] = 1.01
    after, before = predict(head, make_matrix(shifted)), predict(head, make_matrix(features), 4)
    difference = after["genres"] - before["genres"]
    assert np.abs(difference).max() < 0.5
    assert np.isfinite(difference).all()


def test_layers_of_the_head_follow_the_settings() -> None:
    def layers(recipe: str, scaler: StandardScaler | None) -> list[str]:
        head = build_head([GENRES_OUTPUT], TrainingSettings(recipe=recipe), 12, scaler, seed=0)
        return [type(layer).__name__ for layer in head.layers[1:]]

    assert layers("seed", None) == ["Dense", "Dense", "Activation"]
    scaler = StandardScaler().fit(np.eye(12))
    assert layers("default", scaler) == ["Normalization", "Dropout", "Dense", "Dropout", "Dense", "Activation"]


def test_without_taps_a_head_learns_from_the_last_layer_alone(make_matrix) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(80, 1290))
    targets = (features[:, -2:] > 0).astype(np.uint8)
    examples = Examples(pd.DataFrame({"year": np.zeros(80)}), make_matrix(features), targets)
    settings = SETTINGS.model_copy(update={"taps": False, "epochs": 1})
    fitted = fit_head(TrainingData(examples, examples, GENRES), settings, seed=0)
    assert fitted.head.input.shape == (None, 1280)
    # It predicts from the features it was trained on, whatever follows them.
    last_layer = make_matrix(features[:, :1280])
    predicted = [predict(fitted.head, matrix)["genres"] for matrix in (examples.features, last_layer)]
    np.testing.assert_array_equal(*predicted)
    with_taps = fit_head(TrainingData(examples, examples, GENRES), settings.model_copy(update={"taps": True}), seed=0)
    assert with_taps.head.input.shape == (None, 1290)


def test_heads_are_averaged_into_one(train: Examples, validation: Examples) -> None:
    data = TrainingData(train, validation, GENRES)
    settings = SETTINGS.model_copy(update={"num_heads": 2, "epochs": 2})
    outputs = HeadSettings(decade=0.5, score=0.5, embedding=0.5, embedding_size=4)
    epochs: list[int] = []
    averaged = fit_heads(data, settings, seed=1, heads=outputs, on_epochs=epochs.append)
    assert sum(epochs) == 4
    alone = [fit_head(data, settings, seed, outputs) for seed in (2, 3)]
    predicted = predict(build_logits_model(averaged.head), validation.features)
    expected = [predict(build_logits_model(fitted.head), validation.features) for fitted in alone]
    for name in ("genres", "score"):
        np.testing.assert_allclose(predicted[name], np.mean([each[name] for each in expected], axis=0), atol=1e-4)
    # Of the decades the scores before the softmax.
    logarithms = np.mean([np.log(each["decade"]) for each in expected], axis=0)
    np.testing.assert_allclose(predicted["decade"], softmax(logarithms, axis=1), atol=1e-4)
    # The embedding is that of the first head.
    np.testing.assert_allclose(predicted["embedding"], expected[0]["embedding"], atol=1e-5)
    assert averaged.history.equals(alone[0].history)
    assert np.ptp([each["genres"] for each in expected], axis=0).max() > 0.01
    # As is the hidden layer, where there is no such output.
    data_alone = fit_heads(data, settings, seed=1)
    embedded = [
        predict(build_embedding_model(fitted.head), validation.features)
        for fitted in (data_alone, fit_head(data, settings, 2))
    ]
    np.testing.assert_allclose(embedded[0]["embedding"], embedded[1]["embedding"], atol=1e-5)
    assert embedded[0]["embedding"].shape == (200, 32)


def test_threads_that_draw_random_numbers_change_no_head(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = TrainingSettings(hidden_units=4, dropout=0.5)
    outputs = [GENRES_OUTPUT, EmbeddingOutput(4, 2, 0.2)]
    expected = [variable.numpy() for variable in build_head(outputs, settings, 12, None, seed=3).variables]
    randint = random.randint

    def draw_one_more(low: int, high: int) -> int:
        random.random()  # as Prefect's threads do, for pings and retries
        return randint(low, high)

    monkeypatch.setattr(random, "randint", draw_one_more)
    found = build_head(outputs, settings, 12, None, seed=3).variables
    for variable, values in zip(found, expected, strict=True):
        np.testing.assert_array_equal(variable.numpy(), values)


def test_a_head_learns_from_the_views_that_its_recipe_takes(train: Examples, validation: Examples, make_matrix) -> None:
    data = TrainingData(train, validation, GENRES)
    whole = train.features.read()
    # A view whose first two features, which decide, are exchanged.
    swapped = make_matrix(whole[:, [1, 0, *range(2, 12)]])
    views = FeatureViews([*train.features._matrices, *swapped._matrices])
    both = TrainingData(replace(train, features=views), validation, GENRES)
    settings = SETTINGS.model_copy(update={"epochs": 20, "learning_rate": 1e-2, "dropout": 0.1})
    alone = fit_head(data, settings, seed=0)
    assert alone.validation_macro_f1 > 0.85
    assert fit_head(both, settings, seed=0).validation_macro_f1 < 0.8
    from_whole = fit_head(both, settings.model_copy(update={"views": False}), seed=0)
    for found, expected in zip(from_whole.head.get_weights(), alone.head.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_predictions_are_averaged_over_the_views(train: Examples, make_matrix) -> None:
    other = make_matrix(train.features.read()[::-1])
    views = FeatureViews([*train.features._matrices, *other._matrices])
    head = build_head([GENRES_OUTPUT], SETTINGS, 12, None, seed=0)
    model = build_logits_model(head)
    first, second, both = (predict(model, features)["genres"] for features in (train.features, other, views))
    np.testing.assert_allclose(both, (first + second) / 2, atol=1e-6)
    np.testing.assert_allclose(
        predict_confidences(head, views, 5)["genres"], expit((first + second) / 2)[:5], atol=1e-6
    )
    scaler = fit_scaler(views)
    both_features = np.concatenate([train.features.read(), other.read()]).astype(float)
    np.testing.assert_allclose(scaler.mean_, both_features.mean(axis=0))
    np.testing.assert_allclose(scaler.var_, both_features.var(axis=0))


def test_weight_decay_keeps_weights_small(train: Examples, validation: Examples) -> None:
    data = TrainingData(train, validation, GENRES)
    norms = []
    for weight_decay in (0.0, 0.1):
        settings = SETTINGS.model_copy(update={"weight_decay": weight_decay, "epochs": 8})
        norms.append(float(np.linalg.norm(fit_head(data, settings, seed=0).head.get_layer("hidden").kernel)))
    assert norms[1] < 0.99 * norms[0]
