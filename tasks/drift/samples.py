"""Samples of the champion's and of the present films' embeddings that can be compared with each other."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.dataset.task import Dataset
from tasks.drift.embeddings import Embeddings, choose_sample
from tasks.features.joining import open_features
from tasks.model_folder import ModelFolder


@dataclass(frozen=True)
class Samples:
    """Embeddings of two samples in the same space, shapes `(num_films, size)`; `space` names it."""

    before: NDArray[np.float32]
    after: NDArray[np.float32]
    space: str


def pair_samples(before: Embeddings | None, after: Embeddings | None) -> Samples | None:
    """Returns the samples of two statistics; None if one has none, or if they are of other features."""
    if before is None or after is None or before.features != after.features:
        return None
    return Samples(before.decode(), after.decode(), "features")


def read_features(dataset: Dataset, features_folder: Path, films: pd.DataFrame) -> NDArray[np.float16]:
    """Returns the features of some films, shape `(len(films), num_features)`, in the order of `films`.

    Args:
        dataset: Data set, joined with its features.
        features_folder: Folder of the features.
        films: Columns `split` and `row_in_split`.
    """
    matrices = {split: open_features(dataset, features_folder, split) for split in films["split"].unique()}
    # Row by row: a sample is too thin for its rows to be read with all others between them.
    rows = zip(films["split"], films["row_in_split"].tolist(), strict=True)
    return np.concatenate([matrices[split].read(row, row + 1) for split, row in rows])


def sample_index(champion: ModelFolder, dataset: Dataset, features_folder: Path, films: pd.DataFrame) -> Samples | None:
    """Returns samples for a champion without statistics: by its own embedding, of its training films and of ours.

    Args:
        champion: The champion.
        dataset: Data set of the present films.
        features_folder: Folder of their features.
        films: All present films: columns `imdb_id`, `split` and `row_in_split`.

    Returns:
        None if it has no similarity index, or was trained on other features.
    """
    if not champion.index_path.is_file() or champion.features != features_folder.name:
        return None
    import keras  # here, since only a champion of an earlier version needs it

    from tasks.training.embedding import make_embed

    ids = pq.read_table(champion.index_path, columns=["imdb_id"])["imdb_id"].to_pylist()
    before = _read_index(champion.index_path, choose_sample(ids))
    present = films[films["split"] == "train"]
    present = present.iloc[choose_sample(present["imdb_id"].tolist())]
    features = read_features(dataset, features_folder, present).astype(np.float32)
    after = make_embed(keras.saving.load_model(champion.head_path))(features)
    return Samples(before, after, "champion's embedding, training films")


def _read_index(path: Path, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    start, found = 0, []
    for batch in pq.ParquetFile(path).iter_batches(columns=["embedding"]):
        inside = rows[(rows >= start) & (rows < start + len(batch))] - start
        vectors = pc.take(batch.column(0), pa.array(inside))
        found.append(vectors.flatten().to_numpy().reshape(len(inside), vectors.type.list_size).astype(np.float32))
        start += len(batch)
    return np.concatenate(found)


def number_rows(table: pa.Table) -> pd.DataFrame:
    """Returns films with `row_in_split`, the row of each among those of its split.

    Args:
        table: Films in the order of `films.parquet`, with their `split`.
    """
    films: pd.DataFrame = table.to_pandas()
    return films.assign(row_in_split=films.groupby("split").cumcount())
