"""Join the films of a data set with the features of their images.

Training reads rows by position, in the order of the films, and memory must not grow with their number. The features
files can't be read so: they are in the order of extraction, and a row of a Parquet file costs a whole row group. So
the join is written to one array a split.
"""

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.atomic import atomic_folder, remove_folder
from tasks.checking import DamagedFileError, is_whole, write_checksums
from tasks.dataset.splits import SPLITS
from tasks.dataset.task import Dataset
from tasks.errors import RepairedError
from tasks.features.cache import count_features, iterate_arrays, list_files, remove_damaged, view_folder
from tasks.features.images import Images, make_keys
from tasks.features.matrix import FeatureMatrix, FeatureViews, MatrixWriter
from tasks.features.views import WHOLE_POSTERS, Views
from tasks.reading_ahead import read_ahead

logger = logging.getLogger(__name__)

# In memory. Those that are in a store alone are read from there, and not copied: the array is all that takes disk.
_FILES_AHEAD = 3


def join_features(dataset: Dataset, features_folder: Path, views: Views = WHOLE_POSTERS) -> None:
    """Writes the features of the films of each split, in the order of `films.parquet`, for `open_features`.

    Does nothing if this was done before, and the files have their checksums. The joins of other data sets are removed.

    Args:
        dataset: Data set whose images all have features.
        features_folder: Folder of the features; the join is written there, too.
        views: Number of views of each split.

    Raises:
        KeyError: If an image has no features; nothing is written.
        RepairedError: If files with features are damaged; they are removed, and nothing is written.
        StoreError: Features are in a store that can't be read.
    """
    for view in range(views.train):
        splits = [split for split in SPLITS if view < views.count(split)]
        joined = _joined_folder(dataset, features_folder, view)
        if is_whole(joined) and all((joined / f"{split}.npy").exists() for split in splits):
            continue
        for outdated in joined.parent.glob("gathered-*"):
            remove_folder(outdated)
        with atomic_folder(joined) as partial:
            _write_matrices(dataset.films_path, joined.parent, partial, splits)
            write_checksums(partial)
        logger.info("features: %s joined with the films of the data set", f"view {view}" if view else "whole posters")


def open_features(dataset: Dataset, features_folder: Path, split: str, num_views: int = 1) -> FeatureViews:
    """Returns the features of the films of a split, shape `(num_films, num_features)`, in the order of the films.

    Args:
        dataset: Data set with the films.
        features_folder: Folder of the features.
        split: Name of the split.
        num_views: Number of views.

    Raises:
        FileNotFoundError: If `join_features` was not called for this data set and these views.
    """
    paths = [_joined_folder(dataset, features_folder, view) / f"{split}.npy" for view in range(num_views)]
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist: expected join_features to be called first")
    return FeatureViews([FeatureMatrix(path) for path in paths])


def _joined_folder(dataset: Dataset, features_folder: Path, view: int) -> Path:
    return view_folder(features_folder, view) / f"gathered-{dataset.fingerprint[:16]}"


class _FilmsByImage:
    """The films of a data set, found by the hashes of their images: several films may show the same image."""

    def __init__(self, films_path: Path, splits: Sequence[str]) -> None:
        films = pq.read_table(films_path, columns=["sha256", "split"])
        films = films.filter(pc.is_in(films["split"], value_set=pa.array(splits)))
        self._hashes = films["sha256"]
        self._images = Images(self._hashes)
        self.num_films: dict[str, int] = {}
        # Of each film the number of its split, and its row there.
        self._splits, self._rows = np.zeros((2, films.num_rows), np.int64)
        for number, split in enumerate(splits):
            found = np.flatnonzero(pc.equal(films["split"], split))
            self.num_films[split] = len(found)
            self._splits[found], self._rows[found] = number, np.arange(len(found))
        # The films of image n are those from bound n up to bound n + 1 of this order.
        self._order = np.argsort(self._images.numbers, kind="stable")
        self._bounds = np.searchsorted(self._images.numbers[self._order], np.arange(len(self._images) + 1))
        self._found = np.zeros(len(self._images), bool)

    def find(self, hashes: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Returns the films that show these images: number of the split, row in it, and row in `hashes`, of each."""
        images = self._images.find(make_keys(hashes))
        known = np.flatnonzero(images >= 0)
        images = images[known]
        self._found[images] = True
        counts = self._bounds[images + 1] - self._bounds[images]
        ends = np.cumsum(counts)
        # Of each image the numbers from its first bound on.
        places = np.arange(counts.sum()) + np.repeat(self._bounds[images] - ends + counts, counts)
        films = self._order[places]
        return self._splits[films], self._rows[films], np.repeat(known, counts)

    def list_missing(self) -> list[str]:
        """Returns the hashes of the images that no call of `find` named."""
        is_missing = ~self._found[self._images.numbers]
        missing: list[str] = pc.unique(self._hashes.filter(pa.array(is_missing))).to_pylist()
        return missing


def _read_whole(path: Path) -> list[tuple[pa.Array, NDArray[np.float16]]]:
    return list(iterate_arrays(path))


def _write_matrices(films_path: Path, features_folder: Path, folder: Path, splits: Sequence[str]) -> None:
    """Writes `<split>.npy` for each of the splits, in one pass over the features."""
    films, num_features = _FilmsByImage(films_path, splits), count_features(features_folder)
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(MatrixWriter(folder / f"{split}.npy", (films.num_films[split], num_features)))
            for split in splits
        ]
        damaged = []
        for piece in read_ahead(_read_whole, list_files(features_folder), _FILES_AHEAD):
            try:
                for hashes, features in piece.result():
                    film_splits, rows, sources = films.find(hashes)
                    for number, writer in enumerate(writers):
                        of_split = film_splits == number
                        writer.write(rows[of_split], features[sources[of_split]])
            except DamagedFileError as error:
                remove_damaged(error)
                damaged.append(str(error))
    if damaged:
        raise RepairedError(f"{'; '.join(damaged)}: run again to extract the features of these images again")
    if missing := films.list_missing():
        raise KeyError(f"{len(missing)} images have no features in {features_folder}, {missing[0]} among them")
