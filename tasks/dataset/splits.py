"""Split films into train, validation and test: stratified by genre, and no picture in two of them."""

from collections.abc import Sequence

import numpy as np
from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit
from numpy.typing import NDArray

from tasks.errors import DatasetError

SPLITS = ("train", "validation", "test")


def split_images(
    sha256: Sequence[str],
    genre_targets: NDArray[np.uint8],
    validation_fraction: float,
    test_fraction: float,
    seed: int,
) -> NDArray[np.str_]:
    """Assigns every film to a split; films with the same picture to the same one.

    The unit is the picture, with the genres of all films that show it. Pictures are dealt out by iterative
    stratification (Sechidis, Tsoumakas and Vlahavas 2011, "On the Stratification of Multi-Label Data"), so that every
    genre has about its share in every split.

    Args:
        sha256: of each film's picture.
        genre_targets: shape `(num_films, num_genres)`, 0 or 1.
        validation_fraction: of the pictures.
        test_fraction: of the pictures.
        seed: the same films and seed give the same split, in whatever order the films come.

    Returns:
        The name of each film's split, shape `(num_films,)`.

    Raises:
        DatasetError: if there are too few pictures to fill three splits.
    """
    images, image_of_film = np.unique(np.asarray(sha256), return_inverse=True)
    targets = np.zeros((len(images), genre_targets.shape[1]), np.uint8)
    np.maximum.at(targets, image_of_film, genre_targets)
    held_out_fraction = validation_fraction + test_fraction
    if len(images) * min(validation_fraction, test_fraction) < 1:
        raise DatasetError(
            f"{len(images)} different posters are too few for splits of {validation_fraction:.0%} and "
            f"{test_fraction:.0%}: expected at least {int(np.ceil(1 / min(validation_fraction, test_fraction)))}"
        )
    held_out = _choose(targets, held_out_fraction, seed)
    test = held_out[_choose(targets[held_out], test_fraction / held_out_fraction, seed)]
    names = np.full(len(images), "train", dtype="<U10")
    names[held_out] = "validation"
    names[test] = "test"
    if len(set(names.tolist())) < len(SPLITS):
        raise DatasetError(f"{len(images)} different posters are too few: a split would have none of them")
    return names[image_of_film]


def _choose(targets: NDArray[np.uint8], fraction: float, seed: int) -> NDArray[np.int64]:
    splitter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=fraction, random_state=seed)
    _, chosen = next(splitter.split(targets, targets))
    return np.sort(chosen)
