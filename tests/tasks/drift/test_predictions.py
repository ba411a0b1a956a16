import json
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import logit

from tasks.dataset.films import FILMS_SCHEMA
from tasks.dataset.task import Dataset
from tasks.drift.predictions import describe_predictions, predict_by_champion
from tasks.model_folder import ModelFolder


def test_predictions_are_those_over_one_half() -> None:
    found = describe_predictions(np.array([[0.9, 0.5], [0.2, 0.51], [0.1, 0.3]]), ["A", "B"], {"recipe": "seed"})
    assert (found.recipe, found.num_films, found.predicted) == ({"recipe": "seed"}, 3, {"A": 1, "B": 1})
    assert found.top_confidence.median == pytest.approx(0.51)
    assert (found.top_confidence.bins, found.top_confidence.counts) == ((15, 25, 45), (1, 1, 1))


# Four test films; the features are the confidences of the champion's two genres.
FEATURES = np.array([[0.9, 0.1], [0.8, 0.7], [0.1, 0.1], [0.2, 0.6]])


def write_films(path: Path, films: dict[int, tuple[str, str]]) -> None:
    """Writes films by their id, with hash and split."""
    hashes, splits = zip(*films.values(), strict=True)
    zeros = [0] * len(films)
    columns = {"imdb_id": list(films), "title": hashes, "year": zeros, "score": zeros, "sha256": hashes}
    targets = [[1, 0]] * len(films)
    pq.write_table(pa.table({**columns, "split": splits, "targets": targets}, FILMS_SCHEMA), path)


@pytest.fixture
def champion(tmp_path: Path) -> ModelFolder:
    model = ModelFolder(tmp_path / "m1")
    model.path.mkdir()
    inputs = keras.Input((2,))
    logits = keras.layers.Identity(name="logits")(inputs)
    keras.Model(inputs, {"genres": keras.layers.Activation("sigmoid")(logits)}).save(model.head_path)
    model.labels_path.write_text(json.dumps(["Comedy", "Drama"]))
    model.write_manifest({"id": "m1", "features": "f"})
    return model


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    write_films(tmp_path / "films.parquet", {film: (f"{film}", "test") for film in (1, 2, 3, 4)})
    folder = tmp_path / "f" / "gathered-0123"
    folder.mkdir(parents=True)
    np.save(folder / "test.npy", logit(FEATURES).astype(np.float16))
    return Dataset(tmp_path, ["Drama"], {}, "0123")


def test_the_champion_predicts_the_films_that_it_has_not_learned_from(
    champion: ModelFolder, dataset: Dataset, tmp_path: Path
) -> None:
    # It has learned from film 1, and from the poster of film 2 as that of another film; film 3 it was tested on.
    write_films(champion.films_path, {1: ("a", "train"), 9: ("2", "validation"), 3: ("3", "test")})
    found = predict_by_champion(champion, dataset, tmp_path / "f")
    assert found is not None
    assert (found.num_films, found.predicted) == (2, {"Comedy": 0, "Drama": 1})
    assert found.top_confidence.median == pytest.approx(0.35, abs=1e-3)


def test_a_champion_of_other_features_or_of_all_films_predicts_none(
    champion: ModelFolder, dataset: Dataset, tmp_path: Path
) -> None:
    write_films(champion.films_path, {film: (f"{film}", "train") for film in (1, 2, 3, 4)})
    assert predict_by_champion(champion, dataset, tmp_path / "f") is None
    write_films(champion.films_path, {9: ("9", "train")})
    assert predict_by_champion(champion, dataset, tmp_path / "f") is not None
    assert predict_by_champion(champion, dataset, tmp_path / "other") is None
