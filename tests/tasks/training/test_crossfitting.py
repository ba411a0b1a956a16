from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tasks.evaluation.label_errors import find_label_errors
from tasks.outputs.calibration import Calibration
from tasks.settings import TrainingSettings
from tasks.training import crossfitting
from tasks.training.crossfitting import cross_fit
from tasks.training.examples import Examples, TrainingData

SETTINGS = TrainingSettings(recipe="fast", hidden_units=16, epochs=15, batch_size=32, learning_rate=1e-2, dropout=0.1)


def make_examples(make_matrix, num_films: int, seed: int) -> Examples:
    """Films whose two genres are the signs of two features of eight, none of them near to zero."""
    features = np.random.default_rng(seed).normal(size=(num_films, 8))
    features += np.sign(features)
    targets = (features[:, :2] > 0).astype(np.uint8)
    films = pd.DataFrame({"imdb_id": range(num_films), "sha256": [str(film) for film in range(num_films)]})
    return Examples(films, make_matrix(features), targets)


def test_wrong_labels_are_found(make_matrix) -> None:
    train, validation = make_examples(make_matrix, 300, 0), make_examples(make_matrix, 100, 1)
    wrong = np.random.default_rng(2).choice(300, 10, replace=False)
    targets = train.genre_targets.copy()
    targets[wrong, 0] = 1 - targets[wrong, 0]
    train = replace(train, genre_targets=targets)
    probabilities = cross_fit(TrainingData(train, validation, ["a", "b"]), SETTINGS, 3, seed=0)
    films = pd.DataFrame({"imdb_id": train.films["imdb_id"], "title": "T", "targets": list(targets)})
    errors = find_label_errors(films, probabilities, ["a", "b"], 8)
    found = set(errors[errors["genre"] == "a"]["imdb_id"]) & set(wrong.tolist())
    assert len(found) >= 7  # of eight that are listed of each kind, and ten in all


def test_no_head_predicts_films_that_it_has_learned_from(make_matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    train, validation = make_examples(make_matrix, 60, 0), make_examples(make_matrix, 20, 1)
    train = replace(train, films=train.films.assign(sha256=[f"{film // 2}" for film in range(60)]))
    learned: list[set[int]] = []

    def watch(data: TrainingData, *others: object, **named: object) -> object:
        learned.append(set(data.train.films["imdb_id"]))
        return fit_head(data, *others, **named)

    fit_head = crossfitting.fit_head
    monkeypatch.setattr(crossfitting, "fit_head", watch)
    settings = SETTINGS.model_copy(update={"epochs": 1})
    probabilities = cross_fit(TrainingData(train, validation, ["a", "b"]), settings, 3, seed=0)
    assert probabilities.shape == (60, 2)
    assert ((probabilities > 0) & (probabilities < 1)).all()
    left_out = [set(range(60)) - films for films in learned]
    assert sorted(film for films in left_out for film in films) == list(range(60))
    assert all({film ^ 1 for film in films} == films for films in left_out)


def test_probabilities_are_calibrated(make_matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slope and intercept count, thresholds do not: those are for decisions."""
    train, validation = make_examples(make_matrix, 60, 0), make_examples(make_matrix, 20, 1)
    settings = SETTINGS.model_copy(update={"epochs": 1})

    def predict(slope: float, intercept: float, threshold: float) -> np.ndarray:
        arrays = (np.full(2, value, np.float32) for value in (slope, intercept, threshold))
        monkeypatch.setattr(crossfitting, "calibrate", lambda *_: calibration)
        calibration = Calibration(*arrays)
        probabilities = cross_fit(TrainingData(train, validation, ["a", "b"]), settings, 3, seed=0)
        return np.log(probabilities / (1 - probabilities))

    raw = predict(1, 0, 0)
    np.testing.assert_allclose(predict(0.5, -1, 3), 0.5 * raw - 1, atol=1e-4)
