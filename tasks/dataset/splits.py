"""Split films into train, validation and test: stratified by genre, each image in one split only, and permanently."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.errors import DatasetError
from tasks.settings import DatasetSettings

SPLITS = ("train", "validation", "test")

# The mark of a film that is left out: it belongs to one split, and the image that it shows now to another.
LEFT_OUT = ""


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
    images, image_of_film = np.unique(films["sha256"].to_numpy(dtype=str), return_inverse=True)
    smallest = min(settings.validation_fraction, settings.test_fraction)
    if len(images) * smallest < 1:
        raise DatasetError(
            f"{len(images)} different posters are too few for splits of {settings.validation_fraction:.0%} and "
            f"{settings.test_fraction:.0%}: expected at least {int(np.ceil(1 / smallest))}"
        )
    film_names = _find_known_films(films, known)
    names = _find_known_images(images, image_of_film, films["imdb_id"].to_numpy(), film_names, known)
    new = np.flatnonzero(names == "")
    if len(new):
        targets = np.zeros((len(images), genre_targets.shape[1]), np.uint8)
        np.maximum.at(targets, image_of_film, genre_targets)
        num_known = {split: int(np.sum(names == split)) for split in SPLITS}
        num_test, num_validation = count_held_out(len(new), num_known, settings)
        held_out = new[_choose(targets[new], num_test + num_validation, seed)]
        # Stratification may hold out fewer than requested; later runs make up for that with their new images.
        test = held_out[_choose(targets[held_out], min(num_test, len(held_out)), seed)]
        names[new] = "train"
        names[held_out] = "validation"
        names[test] = "test"
    assigned = names[image_of_film]
    assigned[(film_names != "") & (film_names != assigned)] = LEFT_OUT
    if not set(SPLITS) <= set(assigned.tolist()):
        raise DatasetError(
            f"{len(images)} different posters are too few: a split would be empty; expected more films, or larger "
            "dataset.validation_fraction and dataset.test_fraction"
        )
    return assigned


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


def _find_known_films(films: pd.DataFrame, known: pd.DataFrame) -> NDArray[np.str_]:
    """Returns the known split of each film, "" for a new film."""
    splits = known.drop_duplicates("imdb_id").set_index("imdb_id")["split"]
    return _fill(films["imdb_id"].map(splits))


def _find_known_images(
    images: NDArray[np.str_],
    image_of_film: NDArray[np.int64],
    imdb_ids: NDArray[np.int64],
    film_names: NDArray[np.str_],
    known: pd.DataFrame,
) -> NDArray[np.str_]:
    """Returns the known split of each image, "" for a new image of new films."""
    names = _fill(pd.Series(images).map(known.drop_duplicates("sha256").set_index("sha256")["split"]))
    # If several known films show the same new image, the first by id decides.
    last_to_first = np.argsort(imdb_ids)[::-1]
    last_to_first = last_to_first[film_names[last_to_first] != ""]
    of_films = np.full(len(images), "", names.dtype)
    of_films[image_of_film[last_to_first]] = film_names[last_to_first]
    return np.where(names == "", of_films, names)


def _fill(splits: pd.Series) -> NDArray[np.str_]:
    return splits.astype(object).where(splits.notna(), "").to_numpy(dtype="<U10")


def _choose(targets: NDArray[np.uint8], count: int, seed: int) -> NDArray[np.int64]:
    """Returns the rows of about `count` images, ascending; a stratified sample."""
    if count in (0, len(targets)):
        return np.arange(count)
    # It imports scikit-learn, which takes a second and is not needed where every film is known.
    from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit

    splitter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=count, random_state=seed)
    _, chosen = next(splitter.split(targets, targets))
    return np.sort(chosen)
