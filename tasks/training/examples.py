"""What a head learns from: features and genre targets of a split."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.dataset.task import Dataset
from tasks.features.joining import open_features
from tasks.features.matrix import FeatureMatrix


@dataclass(frozen=True)
class Examples:
    """The films of one split.

    Attributes:
        imdb_ids: of the films, in the order of the rows.
        features: on disk, shape `(num_films, num_features)`.
        genre_targets: uint8, 0 or 1, shape `(num_films, num_genres)`.
        years: int32, 0 where there is none, shape `(num_films,)`.
        scores: float32, IMDB's, from 1 to 10, 0 where there is none, shape `(num_films,)`.
    """

    imdb_ids: list[int]
    features: FeatureMatrix
    genre_targets: NDArray[np.uint8]
    years: NDArray[np.int32]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.imdb_ids)

    def take(self, rows: NDArray[np.int64]) -> "Examples":
        """Returns the films of these rows, ascending."""
        return Examples(
            imdb_ids=[self.imdb_ids[row] for row in rows],
            features=self.features.take_rows(rows),
            genre_targets=self.genre_targets[rows],
            years=self.years[rows],
            scores=self.scores[rows],
        )


def read_examples(dataset: Dataset, features_folder: Path, split: str) -> Examples:
    """Reads the films of a split with the features of their images, as `join_features` wrote them.

    Raises:
        FileNotFoundError: If `join_features` was not called for this data set.
    """
    films = pq.read_table(dataset.films_path, columns=["imdb_id", "split", "targets", "year", "score"])
    films = films.filter(pc.field("split") == split)
    targets = films["targets"].combine_chunks()
    return Examples(
        imdb_ids=films["imdb_id"].to_pylist(),
        features=open_features(dataset, features_folder, split),
        genre_targets=targets.flatten().to_numpy().reshape(len(targets), -1),
        years=films["year"].to_numpy().astype(np.int32),
        scores=films["score"].to_numpy().astype(np.float32),
    )
