"""A data set of a few films and features that its genres can be learned from, without posters."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.dataset.films import FILMS_SCHEMA
from tasks.dataset.task import Dataset
from tasks.features.cache import write_features
from tasks.features.joining import join_features

NUM_FEATURES = 1300
SPLITS = ("train", "train", "validation", "test")  # of the films, in turns


def write_small_dataset(folder: Path, num_films: int) -> Dataset:
    """Writes films of two genres: odd numbers have the first, numbers whose half is odd the second."""
    folder.mkdir(parents=True, exist_ok=True)
    films = [
        {
            "imdb_id": number,
            "title": f"Film {number}",
            "year": 1985 + number,
            "score": 6.0,
            "sha256": str(number),
            "split": SPLITS[number // 4 % 4],
            "targets": [number % 2, number // 2 % 2],
        }
        for number in range(num_films)
    ]
    pq.write_table(pa.Table.from_pylist(films, schema=FILMS_SCHEMA), folder / "films.parquet")
    num_of_split = {split: sum(film["split"] == split for film in films) for split in dict.fromkeys(SPLITS)}
    return Dataset(folder, ["a", "b"], num_of_split, "fingerprint")


def write_small_features(dataset: Dataset, folder: Path, num_films: int, *, strength: float = 0.0) -> Path:
    """Writes random features, the first ones greater by `strength` where a film has the genre; returns the folder."""
    features = np.random.default_rng(0).random((num_films, NUM_FEATURES), np.float32) * (6 - strength)
    for genre in range(2):
        has_genre = (np.arange(num_films) // 2**genre % 2).astype(np.float32)
        features[:, genre * 200 : (genre + 1) * 200] += strength * has_genre[:, np.newaxis]
    write_features(folder, [str(number) for number in range(num_films)], features)
    join_features(dataset, folder)
    return folder
