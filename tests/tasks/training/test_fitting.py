import numpy as np
import pytest
from sklearn.metrics import f1_score

from tasks.settings import TrainingSettings
from tasks.training.examples import Examples
from tasks.training.fitting import fit_head
from tasks.training.head import build_head, predict_probabilities

VOCABULARY = ["a", "b"]
SETTINGS = TrainingSettings(hidden_units=32, epochs=8, batch_size=64, learning_rate=3e-3)


def make_examples(num_films: int, seed: int) -> Examples:
    """Films whose two genres are the signs of two features of twelve."""
    features = np.random.default_rng(seed).normal(size=(num_films, 12)).astype(np.float32)
    return Examples(list(range(num_films)), features, (features[:, :2] > 0).astype(np.uint8))


TRAIN, VALIDATION = make_examples(600, 0), make_examples(200, 1)


@pytest.mark.parametrize("loss", ["soft_f1", "binary_crossentropy"])
def test_learns_what_can_be_learned(loss: str) -> None:
    settings = SETTINGS.model_copy(update={"loss": loss, "epochs": 40, "learning_rate": 1e-2, "dropout": 0.1})
    fitted = fit_head(TRAIN, VALIDATION, VOCABULARY, settings, seed=0)
    decisions = predict_probabilities(fitted.head, VALIDATION.features) > 0.5
    assert fitted.validation_macro_f1 > 0.9
    # The weights kept are those of the epoch that is reported, and the metric is the pooled one.
    assert fitted.validation_macro_f1 == pytest.approx(f1_score(VALIDATION.genre_targets, decisions, average="macro"))
    assert fitted.history["val_macro_f1"].max() == fitted.validation_macro_f1
    assert fitted.history["epoch"].iloc[fitted.history["val_macro_f1"].argmax()] == fitted.best_epoch
    assert {"loss", "val_loss", "f1/a", "val_precision/b", "val_recall/a"} <= set(fitted.history)


def test_same_seed_same_weights() -> None:
    first, second, other = (
        fit_head(TRAIN, VALIDATION, VOCABULARY, SETTINGS.model_copy(update={"epochs": 2}), seed=seed)
        for seed in (0, 0, 1)
    )
    for one, two in zip(first.head.get_weights(), second.head.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert first.history.equals(second.history)
    assert not first.history.equals(other.history)


def test_stops_when_validation_gets_no_better() -> None:
    noise = Examples(VALIDATION.imdb_ids, VALIDATION.features, VALIDATION.genre_targets[::-1])
    settings = SETTINGS.model_copy(update={"epochs": 60, "patience": 2})
    fitted = fit_head(TRAIN, noise, VOCABULARY, settings, seed=0)
    assert len(fitted.history) == fitted.best_epoch + 2 < 60


def test_without_patience_every_epoch_is_run() -> None:
    fitted = fit_head(TRAIN, VALIDATION, VOCABULARY, SETTINGS.model_copy(update={"patience": None}), seed=0)
    assert len(fitted.history) == 8


def test_a_feature_that_is_constant_in_training_does_no_harm() -> None:
    features = TRAIN.features.copy()
    features[:, 5] = 1.0
    head = build_head(2, SETTINGS, features, seed=0)
    shifted = features[:4].copy()
    shifted[:, 5] = 1.01
    difference = predict_probabilities(head, shifted) - predict_probabilities(head, features[:4])
    assert np.abs(difference).max() < 0.5
    assert np.isfinite(difference).all()


def test_parts_of_the_head_are_there_as_the_settings_say() -> None:
    def layers(recipe: str) -> list[str]:
        head = build_head(2, TrainingSettings(recipe=recipe), TRAIN.features, seed=0)
        return [type(layer).__name__ for layer in head.layers[1:]]

    assert layers("seed") == ["Dense", "Dense"]
    assert layers("default") == ["Normalization", "Dropout", "Dense", "Dropout", "Dense"]
