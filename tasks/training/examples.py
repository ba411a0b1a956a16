"""What a head learns from: films with their features and targets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.dataset.task import Dataset
from tasks.features.image_size import NUM_FEATURES
from tasks.features.joining import open_features
from tasks.features.matrix import FeatureViews
from tasks.features.views import WHOLE_POSTERS, Views


@dataclass(frozen=True)
class Examples:
    """The films of one split.

    Attributes:
        films: A row a film: `imdb_id`, `sha256` (of the image), `year` and `score` (IMDB's, from 1 to 10; both are 0
            where unknown).
        features: Features on disk of each view, shape `(num_films, num_features)`, in the order of the films.
        genre_targets: uint8, 0 or 1, shape `(num_films, num_genres)`.
    """

    films: pd.DataFrame
    features: FeatureViews
    genre_targets: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.films)

    def take(self, rows: NDArray[np.int64]) -> "Examples":
        """Returns the films of these rows, ascending."""
        films = self.films.iloc[rows].reset_index(drop=True)
        return Examples(films, self.features.take_rows(rows), self.genre_targets[rows])

    def find_unlearned(self, films: pd.DataFrame) -> NDArray[np.bool_]:
        """Returns for each film whether a model has learned from neither the film nor its image.

        Args:
            films: Films of the model's data set, `imdb_id`, `sha256` and `split`: it was trained, or its epoch and its
                thresholds were chosen, on all but those of the test split.
        """
        learned = films[films["split"] != "test"]
        known = [self.films[name].isin(learned[name]).to_numpy() for name in ("imdb_id", "sha256")]
        return ~np.logical_or(*known)

    def take_features(self, num_features: int | None, num_views: int | None = None) -> "Examples":
        """Returns the films with no more than the first `num_features` and the first `num_views`; None: all."""
        return replace(self, features=self.features.take_columns(num_features).take_views(num_views))


@dataclass(frozen=True)
class TrainingData:
    """What heads are trained on.

    Attributes:
        train: Films that a head learns from.
        validation: Films on which its probabilities are calibrated and its epochs are measured, in the views over
            which predictions are averaged.
        genres: Names of the genres, in the order of the targets.
        num_last_features: Number of the features of the backbone's last layer, which come first.
    """

    train: Examples
    validation: Examples
    genres: Sequence[str]
    num_last_features: int = NUM_FEATURES


def read_training_data(
    dataset: Dataset, features_folder: Path, views: Views = WHOLE_POSTERS, num_last_features: int = NUM_FEATURES
) -> TrainingData:
    """Reads the training and the validation split; see `read_examples`."""
    train, validation = (
        read_examples(dataset, features_folder, split, views.count(split)) for split in ("train", "validation")
    )
    return TrainingData(train, validation, dataset.genres, num_last_features)


def read_examples(dataset: Dataset, features_folder: Path, split: str, num_views: int = 1) -> Examples:
    """Reads the films of a split with the features of their images, as `join_features` wrote them.

    Args:
        dataset: Data set with the films.
        features_folder: Folder of the features.
        split: Name of the split.
        num_views: Number of views; predictions for the films are averaged over them.

    Raises:
        FileNotFoundError: `join_features` was not called for this data set.
    """
    films = pq.read_table(dataset.films_path, columns=["imdb_id", "sha256", "year", "score", "split", "targets"])
    films = films.filter(pc.field("split") == split)
    targets = films["targets"].combine_chunks()
    return Examples(
        films=films.drop_columns(["split", "targets"]).to_pandas(),
        features=open_features(dataset, features_folder, split, num_views),
        genre_targets=targets.flatten().to_numpy().reshape(len(targets), -1),
    )
