"""Features of many images as one array on disk, read piece by piece: memory does not grow with their number."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

_ROWS_AT_ONCE = 4096


class FeatureMatrix:
    """A two-dimensional float16 array in a `.npy` file, one row for each image.

    Not memory-mapped: the pages that were read would count as memory of the process.

    Args:
        path: Path of the file.
        num_columns: Number of leading columns to read; None, or more than there are, for all.
        rows: Rows of the file to read, ascending; None for all.
    """

    def __init__(self, path: Path, num_columns: int | None = None, rows: NDArray[np.int64] | None = None) -> None:
        self.path = path
        with path.open("rb") as file:
            npy.read_magic(file)
            (height, self._width), _, dtype = npy.read_array_header_1_0(file)
            self._start = file.tell()
        self._rows = rows
        self.num_rows = height if rows is None else len(rows)
        self.num_columns = self._width if num_columns is None else min(num_columns, self._width)
        if dtype != np.float16:
            raise ValueError(f"{path} has values of {dtype}, expected float16")
        num_bytes = self._start + height * self._width * 2
        if path.stat().st_size != num_bytes:
            raise ValueError(f"{path} has {path.stat().st_size:,} bytes, expected {num_bytes:,}")

    def __len__(self) -> int:
        return int(self.num_rows)

    def take_columns(self, num_columns: int | None) -> "FeatureMatrix":
        """Returns the matrix of at most the first `num_columns` columns; None for all."""
        return FeatureMatrix(self.path, num_columns, self._rows)

    def take_rows(self, rows: NDArray[np.int64]) -> "FeatureMatrix":
        """Returns the matrix of these rows alone, ascending."""
        return FeatureMatrix(self.path, self.num_columns, rows if self._rows is None else self._rows[rows])

    def read(self, start: int = 0, stop: int | None = None) -> NDArray[np.float16]:
        """Returns the rows from `start` up to `stop`, exclusive, shape `(num_rows, num_columns)`; None: to the end."""
        stop = len(self) if stop is None else min(stop, len(self))
        if self._rows is None or start >= stop:
            return self._read_file(start, max(start, stop))
        # Rows between the selected ones are read, too: cheap as long as most rows are selected.
        rows = self._rows[start:stop]
        taken = np.empty((len(rows), self.num_columns), np.float16)
        first = 0
        while first < len(rows):
            last = int(np.searchsorted(rows, rows[first] + _ROWS_AT_ONCE))
            piece = self._read_file(int(rows[first]), int(rows[last - 1]) + 1)
            taken[first:last] = piece[rows[first:last] - rows[first]]
            first = last
        return taken

    def _read_file(self, start: int, stop: int) -> NDArray[np.float16]:
        offset = self._start + start * self._width * 2
        flat = np.fromfile(self.path, np.float16, (stop - start) * self._width, offset=offset)
        return flat.reshape(-1, self._width)[:, : self.num_columns]


class FeatureViews:
    """The features of the same posters in one view or several, the whole posters first.

    Args:
        matrices: A matrix for each view, all of the same shape.
    """

    def __init__(self, matrices: Sequence[FeatureMatrix]) -> None:
        self._matrices = tuple(matrices)

    def __len__(self) -> int:
        return len(self._matrices[0])

    @property
    def num_columns(self) -> int:
        return self._matrices[0].num_columns

    @property
    def paths(self) -> list[Path]:
        """Paths of the matrices' files."""
        return [matrix.path for matrix in self._matrices]

    @property
    def num_views(self) -> int:
        return len(self._matrices)

    def take_views(self, num_views: int | None) -> "FeatureViews":
        """Returns at most the first `num_views`; None for all."""
        return FeatureViews(self._matrices[:num_views])

    def take_columns(self, num_columns: int | None) -> "FeatureViews":
        """Returns at most the first `num_columns` columns; None for all."""
        return FeatureViews([matrix.take_columns(num_columns) for matrix in self._matrices])

    def take_rows(self, rows: NDArray[np.int64]) -> "FeatureViews":
        """Returns these rows alone, ascending."""
        return FeatureViews([matrix.take_rows(rows) for matrix in self._matrices])

    def read(self, start: int = 0, stop: int | None = None, view: int = 0) -> NDArray[np.float16]:
        """Returns the rows of one view from `start` up to `stop`, exclusive; see `FeatureMatrix.read`."""
        return self._matrices[view].read(start, stop)

    def read_mixed(self, start: int, stop: int, rng: np.random.Generator) -> NDArray[np.float16]:
        """Returns rows from `start` up to `stop`, each of a view that is drawn for it."""
        rows = self.read(start, stop)
        if self.num_views == 1:
            return rows
        views = rng.integers(self.num_views, size=len(rows))
        for view in range(1, self.num_views):
            drawn = views == view
            rows[drawn] = self.read(start, stop, view)[drawn]
        return rows


class MatrixWriter:
    """Writes a `FeatureMatrix` row by row, in any order; a context manager.

    Args:
        path: Path of the file.
        shape: Shape of the array; rows that are never written are zeros.
    """

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        self._row_bytes = shape[1] * 2
        self._file = path.open("wb")
        npy.write_array_header_1_0(self._file, {"descr": "<f2", "fortran_order": False, "shape": shape})
        self._start = self._file.tell()
        self._file.truncate(self._start + shape[0] * self._row_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, rows: NDArray[np.int64], features: NDArray[np.float16]) -> None:
        """Writes features, shape `(len(rows), num_columns)`, to these rows."""
        offsets = (self._start + rows * self._row_bytes).tolist()
        for offset, vector in zip(offsets, np.ascontiguousarray(features), strict=True):
            os.pwrite(self._file.fileno(), vector.data, offset)
