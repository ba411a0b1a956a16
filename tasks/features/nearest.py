"""The nearest of many vectors, a piece of them at a time."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_LAST_ROW = 2**32 - 1
_ALL_BUT_THE_SIGN = np.int32(2**31 - 1)


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
    best: NDArray[np.int64] = np.empty((len(queries), 0), np.int64)
    start = 0
    for piece in pieces:
        rows = np.arange(start, start + len(piece))
        keys = np.hstack([best, _make_keys(queries @ piece.astype(np.float32).T, rows)])
        best = np.partition(keys, -num_nearest, axis=1)[:, -num_nearest:] if keys.shape[1] > num_nearest else keys
        start += len(piece)
    return _split_keys(-np.sort(-best, axis=1))


def _make_keys(similarities: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns numbers that are greater the nearer a row is, and of equally near ones the earlier; each is unique.

    The upper 32 bits are those of the similarity, which are in its order but for the negative ones, which are reversed.
    """
    bits = (similarities + np.float32(0)).view(np.int32)  # the sum has no negative zero
    ordered = np.where(bits < 0, bits ^ _ALL_BUT_THE_SIGN, bits)
    return (ordered.astype(np.int64) << 32) | (_LAST_ROW - rows)


def _split_keys(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Returns rows and similarities of keys."""
    ordered = (keys >> 32).astype(np.int32)
    bits = np.where(ordered < 0, ordered ^ _ALL_BUT_THE_SIGN, ordered)
    return _LAST_ROW - (keys & _LAST_ROW), bits.astype(np.int32).view(np.float32)
