"""Split films into train, validation and test: stratified by genre, each image in one split only, and permanently."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.atomic import atomic_file
from tasks.checking import DamagedFileError, parquet_damage
from tasks.errors import DatasetError
from tasks.settings import DatasetSettings

logger = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")

SPLIT_COLUMNS = ["imdb_id", "sha256", "split"]


def name_splits_file(settings: DatasetSettings, seed: int) -> str:
    """Returns the name of the file with the splits of a seed and a pair of fractions."""
    return f"seed-{seed}-{settings.validation_fraction:g}-{settings.test_fraction:g}.parquet"


def read_splits(path: Path) -> pd.DataFrame:
    """Returns `imdb_id`, `sha256` and `split` of the films of a file that has these columns.

    Raises:
        DamagedFileError: If it is missing or damaged.
    """
    if not path.is_file():
        raise DamagedFileError(path, "is missing")
    with parquet_damage(path):
        table = pq.read_table(path, columns=SPLIT_COLUMNS, page_checksum_verification=True)
        films: pd.DataFrame = table.to_pandas(ignore_metadata=True)  # pandas' own, which no checksum covers
    kinds = [str(column_type).removeprefix("large_") for column_type in table.schema.types]
    if kinds != ["int64", "string", "string"] or films.isna().any(axis=None) or not films["split"].isin(SPLITS).all():
        expected = f"expected {', '.join(SPLIT_COLUMNS)}, and the splits {', '.join(SPLITS)}"
        raise DamagedFileError(path, f"is damaged ({expected})")
    if films["imdb_id"].duplicated().any():
        raise DamagedFileError(path, "is damaged (expected each film once)")
    return films


def write_known_splits(path: Path, films: pd.DataFrame, known: pd.DataFrame) -> None:
    """Writes the splits for `read_splits`, if they have changed.

    Args:
        path: Path of the file.
        films: All films of the data set, with their `split`.
        known: Content of the file; films that the data set no longer has keep their split, in case they return.
    """
    present = films[SPLIT_COLUMNS]
    absent = known[~known["imdb_id"].isin(present["imdb_id"])]
    assigned = pd.concat([absent, present] if len(absent) else [present]).sort_values("imdb_id", ignore_index=True)
    if assigned.equals(known):
        return
    with atomic_file(path) as partial:
        assigned.to_parquet(partial, write_page_checksum=True)
    if len(known):
        logger.info("split: %d films keep theirs, %d are new", len(known), len(assigned) - len(known))


def split_films(
    films: pd.DataFrame,
    genre_targets: NDArray[np.uint8],
    known: pd.DataFrame,
    *,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
) -> NDArray[np.str_]:
    """Assigns every film to a split; films with the same image to the same split, known films to their known split.

    The unit is the image, with the genres of all films that show it. A known image stays in its split. A new image of
    a known film gets the film's split. All other images are split by iterative stratification (Sechidis, Tsoumakas and
    Vlahavas 2011, "On the Stratification of Multi-Label Data"), so that every genre has about its share in every split,
    in the numbers that bring all splits to their fractions.

    Args:
        films: Films with `imdb_id`, and `sha256` of the image.
        genre_targets: Genre targets, 0 or 1, shape `(num_films, num_genres)`.
        known: Films that earlier runs split, with `imdb_id`, `sha256` and `split`; may be empty.
        validation_fraction: Fraction of the images in the validation split.
        test_fraction: Fraction of the images in the test split.
        seed: Seed of the random split: the same films, known films and seed give the same split in any order.

    Returns:
        The name of each film's split, shape `(num_films,)`.

    Raises:
        DatasetError: If there are too few images to fill three splits.
    """
    images, image_of_film = np.unique(films["sha256"].to_numpy(dtype=str), return_inverse=True)
    if len(images) * min(validation_fraction, test_fraction) < 1:
        raise DatasetError(
            f"{len(images)} different posters are too few for splits of {validation_fraction:.0%} and "
            f"{test_fraction:.0%}: expected at least {int(np.ceil(1 / min(validation_fraction, test_fraction)))}"
        )
    names = _find_known(images, films, known)
    new = np.flatnonzero(names == "")
    if len(new):
        targets = np.zeros((len(images), genre_targets.shape[1]), np.uint8)
        np.maximum.at(targets, image_of_film, genre_targets)
        num_test, num_validation = (
            int(np.clip(round(len(images) * fraction) - np.sum(names == split), 0, len(new)))
            for split, fraction in (("test", test_fraction), ("validation", validation_fraction))
        )
        held_out = new[_choose(targets[new], min(num_test + num_validation, len(new)), seed)]
        # Stratification may hold out fewer than requested; later runs make up for that with their new images.
        test = held_out[_choose(targets[held_out], min(num_test, len(held_out)), seed)]
        names[new] = "train"
        names[held_out] = "validation"
        names[test] = "test"
    if len(set(names.tolist())) < len(SPLITS):
        raise DatasetError(f"{len(images)} different posters are too few: a split would be empty")
    return names[image_of_film]


def _find_known(images: NDArray[np.str_], films: pd.DataFrame, known: pd.DataFrame) -> NDArray[np.str_]:
    """Returns the known split of each image, "" for a new image."""
    split_of_image = dict(zip(known["sha256"], known["split"], strict=True))
    shown = films[["imdb_id", "sha256"]].merge(known[["imdb_id", "split"]], on="imdb_id").sort_values("imdb_id")
    # If several known films show the same new image, the first by id decides.
    split_of_changed_image = dict(reversed(list(zip(shown["sha256"], shown["split"], strict=True))))
    found = [split_of_image.get(image) or split_of_changed_image.get(image, "") for image in images.tolist()]
    return np.array(found, dtype="<U10")


def _choose(targets: NDArray[np.uint8], count: int, seed: int) -> NDArray[np.int64]:
    """Returns the rows of about `count` images, ascending; a stratified sample."""
    if count in (0, len(targets)):
        return np.arange(count)
    # It imports scikit-learn, which takes a second and is not needed where every film is known.
    from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit

    splitter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=count, random_state=seed)
    _, chosen = next(splitter.split(targets, targets))
    return np.sort(chosen)
