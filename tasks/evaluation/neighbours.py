"""The nearest posters of others, by their embeddings."""

from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np
from numpy.typing import NDArray

from tasks.features.matrix import FeatureMatrix
from tasks.training.head import take_embedding
from tasks.training.outputs import EMBEDDING

_ROWS_AT_ONCE = 4096

# From features, shape `(num_posters, num_features)`, to vectors of length 1, shape `(num_posters, size)`.
FeatureEmbedder = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def make_feature_embedder(head: keras.Model) -> FeatureEmbedder:
    """Returns what gives a head's embedding; a head trained without taps takes the first of the features."""
    embedding = take_embedding(head)

    def embed(features: NDArray[np.float32]) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = np.asarray(embedding(features[:, : embedding.input.shape[1]])[EMBEDDING])
        return vectors

    return embed


def embed_pieces(embed: FeatureEmbedder, features: FeatureMatrix) -> Iterator[NDArray[np.float32]]:
    """Yields the embeddings of posters, some thousands at a time, in their order."""
    for start in range(0, len(features), _ROWS_AT_ONCE):
        yield embed(features.read(start, start + _ROWS_AT_ONCE).astype(np.float32))


def find_nearest(
    queries: NDArray[np.float32], pieces: Iterable[NDArray[np.floating]], num_nearest: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Returns the rows of an index that are nearest to each query, nearest first, and their similarities.

    Every row is looked at. Of equally near ones the first comes first.

    Args:
        queries: vectors of length 1, shape `(num_queries, size)`.
        pieces: the index, some rows at a time, of the same size and length.
        num_nearest: at most; all rows, if there are fewer.

    Returns:
        Rows and cosine similarities, in [-1, 1], shape `(num_queries, num_nearest)` each.
    """
    rows: NDArray[np.int64] = np.empty((len(queries), 0), np.int64)
    similarities: NDArray[np.float32] = np.empty((len(queries), 0), np.float32)
    start = 0
    for piece in pieces:
        of_piece = queries @ piece.astype(np.float32).T
        numbers = np.broadcast_to(np.arange(start, start + len(piece)), of_piece.shape)
        rows, similarities = np.hstack([rows, numbers]), np.hstack([similarities, of_piece])
        best = np.argsort(-similarities, axis=1, kind="stable")[:, :num_nearest]
        rows, similarities = np.take_along_axis(rows, best, axis=1), np.take_along_axis(similarities, best, axis=1)
        start += len(piece)
    return rows, similarities


def measure_precision(
    nearest: NDArray[np.int64], query_targets: NDArray[np.uint8], index_targets: NDArray[np.uint8]
) -> float:
    """Returns the share of the nearest films that share a genre with the film they are near to.

    Args:
        nearest: rows of `index_targets`, shape `(num_queries, num_nearest)`.
        query_targets: genres, 0 or 1, at least one a film, shape `(num_queries, num_genres)`.
        index_targets: same columns.
    """
    common = query_targets[:, np.newaxis, :] & index_targets[nearest]
    return float(common.any(axis=-1).mean())


def measure_chance(query_targets: NDArray[np.uint8], index_targets: NDArray[np.uint8]) -> float:
    """Returns what `measure_precision` gives where all films of the index are counted as near."""
    combinations, counts = np.unique(index_targets, axis=0, return_counts=True)
    common = query_targets.astype(np.int64) @ combinations.T.astype(np.int64) > 0
    return float((common @ counts).mean() / counts.sum())
