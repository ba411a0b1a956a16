"""What a head learns from: films with their features and targets."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.atomic import atomic_folder, remove_folder
from tasks.dataset.splits import SPLITS
from tasks.dataset.task import Dataset
from tasks.features.cache import count_features, iterate_features
from tasks.features.matrix import FeatureMatrix, MatrixWriter


@dataclass(frozen=True)
class Examples:
    """The films of one split.

    Attributes:
        films: A row a film: `imdb_id`, `sha256` (of the image), `year` and `score` (IMDB's, from 1 to 10; both are 0
            where unknown).
        features: Features on disk, shape `(num_films, num_features)`, in the order of the films.
        genre_targets: uint8, 0 or 1, shape `(num_films, num_genres)`.
    """

    films: pd.DataFrame
    features: FeatureMatrix
    genre_targets: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.films)

    def take(self, rows: NDArray[np.int64]) -> "Examples":
        """Returns the films of these rows, ascending."""
        films = self.films.iloc[rows].reset_index(drop=True)
        return Examples(films, self.features.take_rows(rows), self.genre_targets[rows])

    def take_features(self, num_features: int | None) -> "Examples":
        """Returns the films with no more than the first `num_features`; None: all."""
        return replace(self, features=self.features.take_columns(num_features))


@dataclass(frozen=True)
class TrainingData:
    """What heads are trained on.

    Attributes:
        train: Films that a head learns from.
        validation: Films on which its best epoch is chosen and its probabilities are calibrated.
        genres: Names of the genres, in the order of the targets.
    """

    train: Examples
    validation: Examples
    genres: Sequence[str]


def read_training_data(dataset: Dataset, features_folder: Path) -> TrainingData:
    """Reads the training and the validation split; see `read_examples`."""
    train, validation = (read_examples(dataset, features_folder, split) for split in ("train", "validation"))
    return TrainingData(train, validation, dataset.vocabulary)


def read_examples(dataset: Dataset, features_folder: Path, split: str) -> Examples:
    """Joins the films of a split with the cached features of their posters.

    The join is done once for a data set and all its splits, and kept in the folder of the features.

    Raises:
        KeyError: if a poster has no features there.
    """
    gathered = features_folder / f"gathered-{dataset.fingerprint[:16]}"
    if not gathered.exists():
        for outdated in features_folder.glob("gathered-*"):
            remove_folder(outdated)
        _gather(dataset.films_path, features_folder, gathered)
    films = pq.read_table(dataset.films_path, columns=["imdb_id", "sha256", "year", "score", "split", "targets"])
    films = films.filter(pc.field("split") == split)
    targets = films["targets"].combine_chunks()
    return Examples(
        films=films.drop_columns(["split", "targets"]).to_pandas(),
        features=FeatureMatrix(gathered / f"{split}.npy"),
        genre_targets=targets.flatten().to_numpy().reshape(len(targets), -1),
    )


def _gather(films_path: Path, features_folder: Path, folder: Path) -> None:
    """Writes the features of the films of each split to `<split>.npy`, in the order of the films."""
    films = pq.read_table(films_path, columns=["sha256", "split"]).to_pandas()
    films["row"] = films.groupby("split").cumcount()
    # Some films show the same picture.
    films["image"], hashes = pd.factorize(films["sha256"])
    images, missing = pd.Index(hashes), np.ones(len(hashes), bool)
    films = films[["image", "split", "row"]].sort_values("image", ignore_index=True)
    bounds = np.searchsorted(films["image"], np.arange(len(hashes) + 1))
    num_features = count_features(features_folder)
    with atomic_folder(folder) as partial, contextlib.ExitStack() as stack:
        writers = {}
        for split in SPLITS:
            shape = (int((films["split"] == split).sum()), num_features)
            writers[split] = MatrixWriter(partial / f"{split}.npy", shape)
            stack.callback(writers[split].close)
        for part_hashes, features in iterate_features(features_folder):
            found = images.get_indexer(pd.Index(part_hashes))
            (known,) = np.nonzero(found >= 0)
            missing[found[known]] = False
            # A line for each film: the film, and where its features are in this batch.
            films_of = [np.arange(bounds[image], bounds[image + 1]) for image in found[known]]
            source = np.repeat(known, [len(rows) for rows in films_of])
            shown = films.iloc[np.concatenate([*films_of, np.empty(0, int)])]
            for split, writer in writers.items():
                of_split = (shown["split"] == split).to_numpy()
                writer.write(shown["row"][of_split].tolist(), features[source[of_split]])
        if missing.any():
            raise KeyError(
                f"{missing.sum()} images have no features in {features_folder}, {hashes[missing.argmax()]} among them"
            )
