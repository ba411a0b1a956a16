"""What a head learns from: features and genre targets of a split."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.features.cache import read_features


@dataclass(frozen=True)
class Examples:
    """The films of one split.

    Attributes:
        imdb_ids: of the films, in the order of the rows.
        features: float32, shape `(num_films, num_features)`.
        genre_targets: uint8, 0 or 1, shape `(num_films, num_genres)`.
    """

    imdb_ids: list[int]
    features: NDArray[np.float32]
    genre_targets: NDArray[np.uint8]


def read_examples(films_path: Path, features_folder: Path, split: str) -> Examples:
    """Joins the films of a split (the data set's `films.parquet`) with the cached features of their posters."""
    films = pq.read_table(films_path)
    films = films.filter(pc.field("split") == split)
    return Examples(
        imdb_ids=films["imdb_id"].to_pylist(),
        features=read_features(features_folder, films["sha256"].to_pylist()).astype(np.float32),
        genre_targets=np.array(films["targets"].to_pylist(), np.uint8),
    )
