"""How well embeddings find posters of the same genres."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import normalize

from tasks.features.nearest import find_nearest
from tasks.training.embedding import embed_pieces, make_embed
from tasks.training.examples import Examples
from tasks.training.task import TrainedHead

# Number of test films whose neighbours are searched in the training split; more change little.
_MAX_QUERIES = 1000
_NUM_NEAREST = 10


def score_embedding(trained: TrainedHead, train: Examples, test: Examples) -> dict[str, Any]:
    """Returns how often the ten nearest training posters share a genre with a test poster: see `measure_precision`.

    Under `precision` for the model's embedding (`model`), the backbone's features (`features`) and random posters
    (`chance`).
    """
    queries = np.flatnonzero(test.genre_targets.any(axis=1))[:_MAX_QUERIES]
    if not queries.size:
        return {"num_queries": 0, "num_nearest": _NUM_NEAREST, "precision": {}}
    query_targets = test.genre_targets[queries]
    precision = {}
    embeds = {"model": make_embed(keras.saving.load_model(trained.head_path)), "features": normalize}
    for name, embed in embeds.items():
        nearest, _ = find_nearest(
            np.concatenate(list(embed_pieces(embed, test.features.take_rows(queries)))),
            embed_pieces(embed, train.features),
            _NUM_NEAREST,
        )
        precision[name] = measure_precision(nearest, query_targets, train.genre_targets)
    precision["chance"] = measure_chance(query_targets, train.genre_targets)
    return {"num_queries": len(queries), "num_nearest": _NUM_NEAREST, "precision": precision}


def measure_precision(
    nearest: NDArray[np.int64], query_targets: NDArray[np.uint8], index_targets: NDArray[np.uint8]
) -> float:
    """Returns the share of the nearest films that share a genre with their query.

    Args:
        nearest: Rows of `index_targets`, shape `(num_queries, num_nearest)`.
        query_targets: Genres of the queries, 0 or 1, at least one a film, shape `(num_queries, num_genres)`.
        index_targets: Genres of the films that were searched, same columns.
    """
    common = query_targets[:, np.newaxis, :] & index_targets[nearest]
    return float(common.any(axis=-1).mean())


def measure_chance(query_targets: NDArray[np.uint8], index_targets: NDArray[np.uint8]) -> float:
    """Returns `measure_precision` where all films that were searched count as near."""
    combinations, counts = np.unique(index_targets, axis=0, return_counts=True)
    common = query_targets.astype(np.int64) @ combinations.T.astype(np.int64) > 0
    return float((common @ counts).mean() / counts.sum())
