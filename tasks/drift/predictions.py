"""Predictions for the test films: the new model's, and the champion's for the films of today."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.dataset.task import Dataset
from tasks.drift.distributions import Distribution
from tasks.drift.statistics import Predictions
from tasks.model_folder import ModelFolder
from tasks.outputs.calibration import THRESHOLD
from tasks.outputs.genres import GenresOutput
from tasks.training.examples import Examples, read_examples
from tasks.training.head import predict_confidences
from tasks.training.task import TrainedHead


def describe_predictions(
    confidences: NDArray[np.floating], genres: Sequence[str], recipe: dict[str, Any]
) -> Predictions:
    """Returns the statistics of a model's predictions.

    Args:
        confidences: Confidences of the test films, shape `(num_films, num_genres)`; a genre is predicted over 0.5.
        genres: Names of the genres.
        recipe: Settings of the head and its outputs.
    """
    predicted = (confidences > THRESHOLD).sum(axis=0).tolist()
    return Predictions(
        recipe=recipe,
        num_films=len(confidences),
        predicted=dict(zip(genres, predicted, strict=True)),
        top_confidence=Distribution.of_confidences(confidences.max(axis=1)),
    )


def predict_test_films(dataset: Dataset, trained: TrainedHead) -> Predictions:
    """Returns the statistics of a new head's predictions."""
    test = read_examples(dataset, trained.features_folder, "test", trained.num_views)
    recipe = {"outputs": trained.output_names, **trained.settings.model_dump(mode="json")}
    return describe_predictions(_predict(trained.head_path, test), dataset.genres, recipe)


def predict_by_champion(champion: ModelFolder, dataset: Dataset, features_folder: Path) -> Predictions | None:
    """Returns the statistics of the champion's predictions for the test films that it has not learned from.

    They differ from those of its own test films as the films do: no training lies between.

    Args:
        champion: The champion.
        dataset: Present films.
        features_folder: Folder of their features.

    Returns:
        None if there are no such films, or if it was trained on other features.
    """
    if champion.features != features_folder.name:
        return None
    test = read_examples(dataset, features_folder, "test", champion.num_views)
    films = pq.read_table(champion.films_path, columns=["imdb_id", "sha256", "split"]).to_pandas()
    (rows,) = np.nonzero(test.find_unlearned(films))
    if not rows.size:
        return None
    return describe_predictions(_predict(champion.head_path, test.take(rows)), champion.genres, {})


def _predict(head_path: Path, films: Examples) -> NDArray[np.float32]:
    return predict_confidences(keras.saving.load_model(head_path), films.features)[GenresOutput.name]
