"""Split films into train, validation and test: stratified by genre, each image in one split only, and permanently."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.errors import DatasetError
from tasks.settings import DatasetSettings

SPLITS = ("train", "validation", "test")

# The mark of a film that is left out: it belongs to one split, and the image that it shows now to another.
LEFT_OUT = ""

# In place of the number of a split: there is none.
_NEW = -1


def split_films(
    films: pd.DataFrame,
    genre_targets: NDArray[np.uint8],
    known: pd.DataFrame,
    *,
    settings: DatasetSettings,
    seed: int,
) -> NDArray[np.str_]:
    """Assigns every film to a split; films with the same image to the same split, known films to their known split.

    The unit is the image, with the genres of all films that show it. A known image stays in its split. A new image of
    a known film gets the film's split. All other images are split by iterative stratification (Sechidis, Tsoumakas and
    Vlahavas 2011, "On the Stratification of Multi-Label Data"), so that every genre has about its share in every split,
    in the numbers of `count_held_out`.

    Args:
        films: Films with `imdb_id`, and `sha256` of the image.
        genre_targets: Genre targets, 0 or 1, shape `(num_films, num_genres)`.
        known: Films and images that earlier runs split, as `read_splits` returns them; may be empty.
        settings: Fractions of the splits.
        seed: Seed of the random split: the same films, known films and seed give the same split in any order.

    Returns:
        The name of each film's split, shape `(num_films,)`; `LEFT_OUT` for a known film whose image belongs to another
        split, as neither can move.

    Raises:
        DatasetError: If there are too few images to fill three splits.
    """
    image_of_film = _number_images(films["sha256"])
    num_images = int(image_of_film.max(initial=-1)) + 1
    smallest = min(settings.validation_fraction, settings.test_fraction)
    if num_images * smallest < 1:
        raise DatasetError(
            f"{num_images} different posters are too few for splits of {settings.validation_fraction:.0%} and "
            f"{settings.test_fraction:.0%}: expected at least {int(np.ceil(1 / smallest))}"
        )
    known_of_film = _find_known(films, known, "imdb_id")
    split_of_image = np.full(num_images, _NEW, np.int8)
    split_of_image[image_of_film] = _find_known(films, known, "sha256")
    _take_over_films(split_of_image, image_of_film, films["imdb_id"].to_numpy(), known_of_film)
    new = np.flatnonzero(split_of_image == _NEW)
    if len(new):
        targets = _join_targets(genre_targets, image_of_film, num_images)[new]
        num_known = {split: int(np.sum(split_of_image == number)) for number, split in enumerate(SPLITS)}
        num_test, num_validation = count_held_out(len(new), num_known, settings)
        held_out = _choose(targets, num_test + num_validation, seed)
        # Stratification may hold out fewer than requested; later runs make up for that with their new images.
        test = held_out[_choose(targets[held_out], min(num_test, len(held_out)), seed)]
        split_of_image[new] = SPLITS.index("train")
        split_of_image[new[held_out]] = SPLITS.index("validation")
        split_of_image[new[test]] = SPLITS.index("test")
    assigned = split_of_image[image_of_film]
    assigned[(known_of_film != _NEW) & (known_of_film != assigned)] = _NEW
    if not set(range(len(SPLITS))) <= set(np.unique(assigned).tolist()):
        raise DatasetError(
            f"{num_images} different posters are too few: a split would be empty; expected more films, or larger "
            "dataset.validation_fraction and dataset.test_fraction"
        )
    names: NDArray[np.str_] = np.array([*SPLITS, LEFT_OUT])[assigned]
    return names


def split_with_held_out(
    films: pd.DataFrame, genre_targets: NDArray[np.uint8], num_films: int, *, settings: DatasetSettings, seed: int
) -> NDArray[np.str_]:
    """Splits films so that the same ones are the test split for every seed: those whose images have the lowest hashes.

    What is chosen by other films can then be tested on these, which no choice has seen.

    Args:
        films: Films, as in `split_films`.
        genre_targets: Genre targets, as there.
        num_films: Number of films of the test split; a few more, if its last image is that of several films.
        settings: Fractions of the splits, of which that of the test split does not count.
        seed: Seed of the split of the other films.

    Returns:
        The name of each film's split, shape `(num_films,)`.

    Raises:
        DatasetError: If a split would be empty.
    """
    is_test = films["sha256"].isin(films["sha256"].sort_values().iloc[:num_films])
    held_out = films.loc[is_test, ["imdb_id", "sha256"]].assign(split="test")
    # Their own fraction, so that no other image is dealt to the test split.
    fraction = held_out["sha256"].nunique() / films["sha256"].nunique()
    settings = settings.model_copy(update={"test_fraction": fraction, "new_test_fraction": 0.0})
    return split_films(films, genre_targets, held_out, settings=settings, seed=seed)


def count_held_out(num_new: int, num_known: Mapping[str, int], settings: DatasetSettings) -> tuple[int, int]:
    """Returns how many new images are dealt to the test and to the validation split; the rest is for training.

    A first split has the fractions of the settings. Later, new images go to the test split first: every verdict of the
    gate selects on its films, so that figures of films that have given many become optimistic. `new_test_fraction` of
    the new images are dealt to it, up to `max_test_fraction` of all; and at most as many as it has, so that a catalog
    that grows to its multiple is split as if it were new.

    Args:
        num_new: Number of new images.
        num_known: Number of known images of the data set in each split.
        settings: Fractions of the splits.
    """
    num_images, num_test = num_new + sum(num_known.values()), num_known["test"]
    missing = round(num_images * settings.test_fraction) - num_test
    first = min(
        math.ceil(round(num_new * settings.new_test_fraction, 6)),
        math.floor(num_images * settings.max_test_fraction) - num_test,
        num_test,
    )
    new_test = min(max(missing, first, 0), num_new)
    missing = round(num_images * settings.validation_fraction) - num_known["validation"]
    return new_test, min(max(missing, 0), num_new - new_test)


def _number_images(hashes: pd.Series) -> NDArray[np.int64]:
    """Returns for each film the number of its image, in the order of the hashes, from 0."""
    # By Arrow, in a tenth of the memory of numpy's `unique`.
    ranks = pc.rank(pa.array(hashes, pa.large_string()), tiebreaker="dense")
    numbers: NDArray[np.int64] = ranks.to_numpy().astype(np.int64) - 1
    return numbers


def _find_known(films: pd.DataFrame, known: pd.DataFrame, column: str) -> NDArray[np.int8]:
    """Returns the number of the split that each film, or its image, is known to have; `_NEW` if there is none."""
    if known.empty:
        return np.full(len(films), _NEW, np.int8)
    numbers = known["split"].map({split: number for number, split in enumerate(SPLITS)}).to_numpy(np.int8)
    # By Arrow: an index of pandas makes an object of each hash. The first of several rows is found.
    rows = pc.index_in(pa.array(films[column]), value_set=pa.array(known[column], pa.array(films[column]).type))
    found: NDArray[np.int8] = np.append(numbers, np.int8(_NEW))[pc.fill_null(rows, len(numbers)).to_numpy()]
    return found


def _take_over_films(
    split_of_image: NDArray[np.int8],
    image_of_film: NDArray[np.int64],
    imdb_ids: NDArray[np.int64],
    known_of_film: NDArray[np.int8],
) -> None:
    """Gives the new images of known films the film's split; if there are several films, the first by id decides."""
    known = np.flatnonzero(known_of_film != _NEW)
    last_to_first = known[np.argsort(imdb_ids[known])[::-1]]
    is_new = split_of_image == _NEW
    last_to_first = last_to_first[is_new[image_of_film[last_to_first]]]
    split_of_image[image_of_film[last_to_first]] = known_of_film[last_to_first]


def _join_targets(
    genre_targets: NDArray[np.uint8], image_of_film: NDArray[np.int64], num_images: int
) -> NDArray[np.uint8]:
    """Returns the genres of each image, those of all films that show it, shape `(num_images, num_genres)`."""
    targets = np.zeros((num_images, genre_targets.shape[1]), np.uint8)
    targets[image_of_film] = genre_targets
    # `maximum.at` is slow, and few films show an image that another one shows.
    is_shared = np.bincount(image_of_film, minlength=num_images)[image_of_film] > 1
    np.maximum.at(targets, image_of_film[is_shared], genre_targets[is_shared])
    return targets


def _choose(targets: NDArray[np.uint8], count: int, seed: int) -> NDArray[np.int64]:
    """Returns the rows of about `count` images, ascending; a stratified sample."""
    if count in (0, len(targets)):
        return np.arange(count)
    # It imports scikit-learn, which takes a second and is not needed where every film is known.
    from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit

    splitter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=count, random_state=seed)
    _, chosen = next(splitter.split(targets, targets))
    return np.sort(chosen)
