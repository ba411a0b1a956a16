"""Split films into train, validation and test: stratified by genre, no picture in two of them, and for good."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.errors import DatasetError

SPLITS = ("train", "validation", "test")


def split_films(
    films: pd.DataFrame,
    genre_targets: NDArray[np.uint8],
    known: pd.DataFrame,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
) -> NDArray[np.str_]:
    """Assigns every film to a split; films with the same picture to the same one, known films to the one they had.

    The unit is the picture, with the genres of all films that show it. A known picture stays in its split. A new
    picture of a known film goes where the film was; any other is new, and those are dealt out by iterative
    stratification (Sechidis, Tsoumakas and Vlahavas 2011, "On the Stratification of Multi-Label Data"), so that every
    genre has about its share in every split, in the numbers that bring all the splits to their fractions.

    Args:
        films: with `imdb_id` and `sha256`, of its picture.
        genre_targets: shape `(num_films, num_genres)`, 0 or 1.
        known: with `imdb_id`, `sha256` and `split`, as earlier runs assigned them; may be empty.
        validation_fraction: of the pictures.
        test_fraction: of the pictures.
        seed: the same films, known films and seed give the same split, in whatever order the films come.

    Returns:
        The name of each film's split, shape `(num_films,)`.

    Raises:
        DatasetError: if there are too few pictures to fill three splits.
    """
    images, image_of_film = np.unique(films["sha256"].to_numpy(dtype=str), return_inverse=True)
    if len(images) * min(validation_fraction, test_fraction) < 1:
        raise DatasetError(
            f"{len(images)} different posters are too few for splits of {validation_fraction:.0%} and "
            f"{test_fraction:.0%}: expected at least {int(np.ceil(1 / min(validation_fraction, test_fraction)))}"
        )
    names = _recall(images, films, known)
    new = np.flatnonzero(names == "")
    if len(new):
        targets = np.zeros((len(images), genre_targets.shape[1]), np.uint8)
        np.maximum.at(targets, image_of_film, genre_targets)
        num_test, num_validation = (
            int(np.clip(round(len(images) * fraction) - np.sum(names == split), 0, len(new)))
            for split, fraction in (("test", test_fraction), ("validation", validation_fraction))
        )
        held_out = new[_choose(targets[new], min(num_test + num_validation, len(new)), seed)]
        # There may be fewer than asked for: what is missing now is made up for with the next new pictures.
        test = held_out[_choose(targets[held_out], min(num_test, len(held_out)), seed)]
        names[new] = "train"
        names[held_out] = "validation"
        names[test] = "test"
    if len(set(names.tolist())) < len(SPLITS):
        raise DatasetError(f"{len(images)} different posters are too few: a split would have none of them")
    return names[image_of_film]


def _recall(images: NDArray[np.str_], films: pd.DataFrame, known: pd.DataFrame) -> NDArray[np.str_]:
    """Returns the split of each picture that has one, "" for the others."""
    split_of_image = dict(zip(known["sha256"], known["split"], strict=True))
    shown = films[["imdb_id", "sha256"]].merge(known[["imdb_id", "split"]], on="imdb_id").sort_values("imdb_id")
    # Of several known films that now show one new picture, the first by id has it.
    split_of_changed = dict(reversed(list(zip(shown["sha256"], shown["split"], strict=True))))
    found = [split_of_image.get(image) or split_of_changed.get(image, "") for image in images.tolist()]
    return np.array(found, dtype="<U10")


def _choose(targets: NDArray[np.uint8], count: int, seed: int) -> NDArray[np.int64]:
    """Returns the rows of about `count` of the pictures, in order."""
    if count in (0, len(targets)):
        return np.arange(count)
    # scikit-learn, which it stands on, takes a second to import: not needed where every film is known.
    from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit

    splitter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=count, random_state=seed)
    _, chosen = next(splitter.split(targets, targets))
    return np.sort(chosen)
