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
import pandas as pd
import pyarrow.parquet as pq

from tasks.atomic import atomic_folder, remove_folder
from tasks.checking import DamagedFileError, is_whole, write_checksums
from tasks.dataset.splits import SPLITS
from tasks.dataset.task import Dataset
from tasks.errors import RepairedError
from tasks.features.cache import count_features, iterate_features, list_files, remove_damaged, view_folder
from tasks.features.matrix import FeatureMatrix, FeatureViews, MatrixWriter
from tasks.features.views import WHOLE_POSTERS, Views

logger = logging.getLogger(__name__)


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
        films = pq.read_table(films_path, columns=["sha256", "split"]).to_pandas()
        films = films[films["split"].isin(splits)].reset_index(drop=True)
        self.num_films: dict[str, int] = films["split"].value_counts().to_dict()
        films["row"] = films.groupby("split").cumcount()
        films["image"], hashes = pd.factorize(films["sha256"])
        self._films = films[["image", "split", "row"]].sort_values("image", ignore_index=True)
        self._bounds = np.searchsorted(self._films["image"], np.arange(len(hashes) + 1))
        self._images = pd.Index(hashes)
        self._found = np.zeros(len(hashes), bool)

    def find(self, hashes: Sequence[str]) -> pd.DataFrame:
        """Returns the films that show these images: their `split`, their `row` in it, and `source`, row in `hashes`."""
        images = self._images.get_indexer(pd.Index(hashes))
        (known,) = np.nonzero(images >= 0)
        self._found[images[known]] = True
        film_rows = [np.arange(self._bounds[image], self._bounds[image + 1]) for image in images[known]]
        films: pd.DataFrame = self._films.iloc[np.concatenate([*film_rows, np.empty(0, int)])]
        return films.assign(source=np.repeat(known, [len(rows) for rows in film_rows]))

    def list_missing(self) -> list[str]:
        """Returns the hashes of the images that no call of `find` named."""
        return [str(sha256) for sha256 in self._images[~self._found]]


def _write_matrices(films_path: Path, features_folder: Path, folder: Path, splits: Sequence[str]) -> None:
    """Writes `<split>.npy` for each of the splits, in one pass over the features."""
    films, num_features = _FilmsByImage(films_path, splits), count_features(features_folder)
    with contextlib.ExitStack() as stack:
        writers = {
            split: MatrixWriter(folder / f"{split}.npy", (films.num_films.get(split, 0), num_features))
            for split in splits
        }
        for writer in writers.values():
            stack.callback(writer.close)
        damaged = []
        for path in list_files(features_folder):
            try:
                for hashes, features in iterate_features(path):
                    found = films.find(hashes)
                    for split, writer in writers.items():
                        split_films = found[found["split"] == split]
                        writer.write(split_films["row"].tolist(), features[split_films["source"].to_numpy()])
            except DamagedFileError as error:
                remove_damaged(error)
                damaged.append(str(error))
    if damaged:
        raise RepairedError(f"{'; '.join(damaged)}: run again to extract the features of these images again")
    if missing := films.list_missing():
        raise KeyError(f"{len(missing)} images have no features in {features_folder}, {missing[0]} among them")
