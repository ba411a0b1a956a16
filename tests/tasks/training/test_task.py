import logging
import random
from pathlib import Path

import keras
import numpy as np
import pytest
from small_dataset import write_small_dataset, write_small_features

from tasks.dataset.task import Dataset
from tasks.outputs.decade import DecadeOutput
from tasks.progress import ProgressState, reporting_to
from tasks.settings import HeadSettings, TrainingSettings
from tasks.training.task import cross_fit_heads, train_head

SETTINGS = TrainingSettings(recipe="fast", epochs=2, hidden_units=8, batch_size=8)
NUM_FILMS = 48


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return write_small_dataset(tmp_path, NUM_FILMS)


@pytest.fixture
def features_folder(dataset: Dataset, tmp_path: Path) -> Path:
    return write_small_features(dataset, tmp_path / "features", NUM_FILMS)


def test_a_head_is_trained_once_and_gives_the_same_weights_again(
    dataset: Dataset, features_folder: Path, tmp_path: Path
) -> None:
    heads = HeadSettings(decade=0.1)
    trained = []
    for number in (1, 2):
        random.seed(number)  # from which a dropout layer without a seed would draw its own
        trained.append(train_head.fn(dataset, features_folder, tmp_path / f"training-{number}", SETTINGS, 0, heads))
    first, second = trained
    genres, decade = first.outputs
    assert genres.get_config()["genres"] == ["a", "b"]
    assert decade == DecadeOutput([1980, 1990, 2000, 2010, 2020])
    assert (first.settings, first.epochs_run) == (SETTINGS, 2)
    assert first.folder.name == second.folder.name
    weights = [keras.saving.load_model(head.head_path).get_weights() for head in trained]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)

    before = first.head_path.stat().st_mtime_ns
    assert train_head.fn(dataset, features_folder, tmp_path / "training-1", SETTINGS, 0, heads).folder == first.folder
    assert first.head_path.stat().st_mtime_ns == before
    another = train_head.fn(dataset, features_folder, tmp_path / "training-1", SETTINGS, 1, heads)
    assert another.folder.name != first.folder.name


@pytest.mark.parametrize("name", ["head.keras", "training.json", "history.csv"])
def test_a_damaged_head_is_trained_again(
    dataset: Dataset, features_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.WARNING)
    trained = train_head.fn(dataset, features_folder, tmp_path, SETTINGS, 0)
    expected = keras.saving.load_model(trained.head_path).get_weights()
    path = trained.folder / name
    path.write_bytes(path.read_bytes()[:-1])
    again = train_head.fn(dataset, features_folder, tmp_path, SETTINGS, 0)
    assert again.folder == trained.folder
    for one, other in zip(keras.saving.load_model(again.head_path).get_weights(), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    (message,) = [record.getMessage() for record in caplog.records if record.name.startswith("tasks.")]
    assert message.startswith(f"{path} is damaged (")
    assert message.endswith(f"{trained.folder} is made again")


def test_damaged_predictions_of_folds_are_made_again(
    dataset: Dataset, features_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    states: list[ProgressState] = []
    with reporting_to(states.append):
        path = cross_fit_heads.fn(dataset, features_folder, tmp_path, SETTINGS, 2, 0)
    assert (states[-1].done, states[-1].has_ended) == (2 * SETTINGS.epochs, True)
    whole, before = path.read_bytes(), path.stat().st_mtime_ns
    assert cross_fit_heads.fn(dataset, features_folder, tmp_path, SETTINGS, 2, 0) == path
    assert path.stat().st_mtime_ns == before
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert cross_fit_heads.fn(dataset, features_folder, tmp_path, SETTINGS, 2, 0) == path
    assert path.read_bytes() == whole
    (message,) = [record.getMessage() for record in caplog.records if record.name.startswith("tasks.")]
    assert message.startswith(f"{path} is damaged (its sha256 is another")
