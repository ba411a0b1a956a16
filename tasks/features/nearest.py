"""The nearest of many vectors, a piece of them at a time."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def find_nearest(
    queries: NDArray[np.float32], pieces: Iterable[NDArray[np.floating]], num_nearest: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Returns the rows that are nearest to each query, nearest first, and their similarities.

    Every row is compared. Of equally near ones the first comes first.

    Args:
        queries: Vectors of length 1, shape `(num_queries, size)`.
        pieces: The vectors to search, some rows at a time, of the same size and length.
        num_nearest: Number of rows for each query; all rows, if there are fewer.

    Returns:
        Rows and cosine similarities, in [-1, 1], shape `(num_queries, num_nearest)` each.
    """
    rows: NDArray[np.int64] = np.empty((len(queries), 0), np.int64)
    similarities: NDArray[np.float32] = np.empty((len(queries), 0), np.float32)
    start = 0
    for piece in pieces:
        piece_similarities = queries @ piece.astype(np.float32).T
        piece_rows = np.broadcast_to(np.arange(start, start + len(piece)), piece_similarities.shape)
        rows, similarities = np.hstack([rows, piece_rows]), np.hstack([similarities, piece_similarities])
        best = np.argsort(-similarities, axis=1, kind="stable")[:, :num_nearest]
        rows, similarities = np.take_along_axis(rows, best, axis=1), np.take_along_axis(similarities, best, axis=1)
        start += len(piece)
    return rows, similarities
