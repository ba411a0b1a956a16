import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.dataset.splits import split_images
from tasks.errors import DatasetError


def make_films(num_films: int, num_images: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    rng = np.random.default_rng(seed)
    images = [f"{image:04d}" for image in rng.integers(0, num_images, num_films)]
    return images, (rng.random((num_films, 5)) < [0.5, 0.3, 0.2, 0.1, 0.05]).astype(np.uint8)


def test_fractions_and_stratification() -> None:
    images, targets = [f"{n:04d}" for n in range(2000)], make_films(2000, 1)[1]
    splits = split_images(images, targets, 0.1, 0.1, seed=0)
    for name, fraction in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        chosen = splits == name
        assert chosen.sum() == pytest.approx(2000 * fraction, abs=20)
        assert targets[chosen].sum(axis=0) == pytest.approx(targets.sum(axis=0) * fraction, abs=4)


@settings(max_examples=25, deadline=None)
@given(st.integers(60, 300), st.integers(0, 2**31 - 1))
def test_no_picture_is_in_two_splits(num_films: int, seed: int) -> None:
    images, targets = make_films(num_films, num_images=50, seed=seed)
    splits = split_images(images, targets, 0.1, 0.2, seed)
    assert len(set(zip(images, splits, strict=True))) == len(set(images))
    assert set(splits) == {"train", "validation", "test"}


def test_same_seed_same_split_in_whatever_order() -> None:
    images, targets = make_films(500, 400)
    splits = split_images(images, targets, 0.1, 0.1, seed=3)
    order = np.random.default_rng(1).permutation(500)
    shuffled = split_images([images[index] for index in order], targets[order], 0.1, 0.1, seed=3)
    assert (shuffled == splits[order]).all()
    assert (split_images(images, targets, 0.1, 0.1, seed=4) != splits).any()


def test_too_few_pictures() -> None:
    with pytest.raises(DatasetError, match="5 different posters are too few.*expected at least 10"):
        split_images(["a", "b", "c", "d", "e"] * 10, np.ones((50, 2), np.uint8), 0.1, 0.1, 0)
