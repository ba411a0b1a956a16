import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.dataset.splits import LEFT_OUT, count_held_out, split_films, split_with_held_out
from tasks.errors import DatasetError
from tasks.settings import DatasetSettings

NOTHING = pd.DataFrame({"imdb_id": [], "sha256": [], "split": []})


def make_films(num_films: int, num_images: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    images = [f"{image:04d}" for image in rng.integers(0, num_images, num_films)]
    targets = (rng.random((num_films, 5)) < [0.5, 0.3, 0.2, 0.1, 0.05]).astype(np.uint8)
    return pd.DataFrame({"imdb_id": range(num_films), "sha256": images}), targets


def run_split(
    films: pd.DataFrame, targets: np.ndarray, known: pd.DataFrame, seed: int, test_fraction: float = 0.1
) -> np.ndarray:
    return split_films(films, targets, known, settings=DatasetSettings(test_fraction=test_fraction), seed=seed)


def split(films: pd.DataFrame, targets: np.ndarray, known: pd.DataFrame = NOTHING, seed: int = 0) -> pd.DataFrame:
    return films.assign(split=run_split(films, targets, known, seed))


def test_fractions_and_stratification() -> None:
    films, targets = pd.DataFrame({"imdb_id": range(2000), "sha256": map(str, range(2000))}), make_films(2000, 1)[1]
    splits = split(films, targets)["split"]
    for name, fraction in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        chosen = (splits == name).to_numpy()
        assert chosen.sum() == pytest.approx(2000 * fraction, abs=20)
        assert targets[chosen].sum(axis=0) == pytest.approx(targets.sum(axis=0) * fraction, abs=4)


@settings(max_examples=25, deadline=None)
@given(st.integers(60, 300), st.integers(0, 2**31 - 1))
def test_no_image_is_in_two_splits(num_films: int, seed: int) -> None:
    films, targets = make_films(num_films, num_images=50, seed=seed)
    splits = run_split(films, targets, NOTHING, seed, test_fraction=0.2)
    assert len(set(zip(films["sha256"], splits, strict=True))) == films["sha256"].nunique()
    assert set(splits) == {"train", "validation", "test"}


def test_same_seed_same_split_in_any_order() -> None:
    films, targets = make_films(500, 400)
    splits = run_split(films, targets, NOTHING, seed=3)
    order = np.random.default_rng(1).permutation(500)
    shuffled = run_split(films.iloc[order], targets[order], NOTHING, seed=3)
    assert (shuffled == splits[order]).all()
    assert (run_split(films, targets, NOTHING, seed=4) != splits).any()


@pytest.mark.parametrize(
    ("num_new", "known", "changes", "expected"),
    [
        # A first split: the fractions of all images.
        (7820, (0, 0, 0), {}, (782, 782)),
        (7820, (0, 0, 0), {"new_test_fraction": 1.0}, (782, 782)),
        # A week of 0.2%: half of 16, and what validation lacks of a tenth of 7,836.
        (16, (6256, 782, 782), {}, (8, 2)),
        (1, (6256, 782, 782), {}, (1, 0)),
        # The growth of 7,300 to 7,820.
        (520, (5840, 730, 730), {}, (260, 52)),
        # As many as there are: 100 of a trial of 1,000 films become a tenth of 40,000, not a fifth.
        (39_000, (800, 100, 100), {}, (3900, 3900)),
        (300, (800, 100, 100), {}, (100, 30)),
        # A fifth of 1,010 images is 202.
        (10, (705, 100, 195), {}, (5, 1)),
        (10, (700, 100, 200), {}, (2, 1)),
        (10, (650, 100, 250), {}, (0, 1)),
        # The fraction of the test split is filled up first, even over the other bound.
        (100, (880, 100, 20), {}, (90, 10)),
        (100, (700, 100, 200), {"test_fraction": 0.3}, (100, 0)),
        (10, (800, 100, 100), {"new_test_fraction": 0.0}, (1, 1)),
        (10, (800, 100, 100), {"new_test_fraction": 0.3}, (3, 1)),
        (10, (800, 100, 100), {"new_test_fraction": 1.0}, (10, 0)),
        (10, (800, 100, 100), {"max_test_fraction": 0.103}, (4, 1)),
        (0, (800, 100, 100), {}, (0, 0)),
    ],
)
def test_how_many_new_images_are_held_out(
    num_new: int, known: tuple[int, int, int], changes: dict[str, float], expected: tuple[int, int]
) -> None:
    num_known = dict(zip(("train", "validation", "test"), known, strict=True))
    assert count_held_out(num_new, num_known, DatasetSettings(**changes)) == expected


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 2**31 - 1))
def test_known_films_keep_their_split_and_half_of_the_new_ones_are_test_films(
    num_new: int, num_gone: int, seed: int
) -> None:
    films, targets = make_films(400, 10**6, seed)
    known = split(films[num_new:], targets[num_new:], seed=seed)
    later = split(films[: 400 - num_gone], targets[: 400 - num_gone], known, seed)
    both = later.merge(known, on="imdb_id")
    assert len(both) == 400 - num_gone - num_new
    assert (both["split_x"] == both["split_y"]).all()
    if not num_gone:
        before, after = (splits["split"].value_counts() for splits in (known, later))
        expected = min(math.ceil(num_new / 2), before["test"])
        # Stratification holds out about as many as it was told to.
        assert after["test"] - before["test"] == pytest.approx(expected, abs=4)
        assert after["validation"] == pytest.approx(40, abs=8)


def test_new_films_are_stratified() -> None:
    films, targets = pd.DataFrame({"imdb_id": range(4000), "sha256": map(str, range(4000))}), make_films(4000, 1)[1]
    known = split(films[:3000], targets[:3000])
    later = split(films, targets, known)["split"].to_numpy()[3000:]
    # The test split has 300 of 3,000, so it gets no more than 300; then 400 - 300 for validation.
    for name, count in (("train", 600), ("validation", 100), ("test", 300)):
        assert (later == name).sum() == pytest.approx(count, abs=5)
        shares = targets[3000:][later == name].mean(axis=0)
        assert shares == pytest.approx(targets[3000:].mean(axis=0), abs=0.025)


def test_one_new_film_a_run_still_fills_every_split() -> None:
    films, targets = make_films(300, 10**6)
    known = split(films[:100], targets[:100])
    for count in range(101, 301):
        known = split(films[:count], targets[:count], known)
    assert known["split"].value_counts().to_dict() == pytest.approx({"train": 210, "validation": 30, "test": 60}, abs=1)


def test_a_catalog_of_other_films_is_split_as_a_first_one() -> None:
    films, targets = make_films(500, 10**6)
    later = split(films[100:], targets[100:], split(films[:100], targets[:100]))
    assert (later["split"] == split(films[100:], targets[100:])["split"]).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 39), min_size=1, max_size=7), st.integers(0, 2**31 - 1))
def test_any_growth_can_be_split(steps: list[int], seed: int) -> None:
    films, targets = make_films(60 + sum(steps), 10**6, seed)
    known, count = split(films[:60], targets[:60], seed=seed), 60
    for step in steps:
        count += step
        known = split(films[:count], targets[:count], known, seed)
    assert len(known) == count


def test_a_changed_image_gets_the_split_of_its_film() -> None:
    films, targets = make_films(200, 10**6)
    known = split(films, targets)
    changed = films.assign(sha256=[f"new {sha256}" for sha256 in films["sha256"]])
    assert (split(changed, targets, known)["split"] == known["split"]).all()


def test_neither_a_film_nor_an_image_gets_into_a_second_split() -> None:
    films, targets = make_films(200, 10**6)
    known = split(films, targets)
    train, test = known[known["split"] == "train"].iloc[0], known[known["split"] == "test"].iloc[0]
    for film, other in ((test, train), (train, test)):
        # A film now shows an image of another split: it stays out. A new film gets the split of the image.
        changed = films.copy()
        changed.loc[changed["imdb_id"] == film["imdb_id"], "sha256"] = other["sha256"]
        changed.loc[200] = [1000, other["sha256"]]
        later = split(changed, np.vstack([targets, targets[:1]]), known).set_index("imdb_id")["split"]
        assert later[film["imdb_id"]] == LEFT_OUT
        assert later[other["imdb_id"]] == later[1000] == other["split"]
        rest = later.drop([film["imdb_id"], 1000])
        assert (rest == known.set_index("imdb_id")["split"].drop(film["imdb_id"])).all()


def test_the_first_of_the_films_of_two_splits_with_one_new_image_keeps_it() -> None:
    films, targets = make_films(200, 10**6)
    known = split(films, targets)
    first, last = known.iloc[0], known[known["split"] != known["split"][0]].iloc[-1]
    films.loc[films["imdb_id"].isin([first["imdb_id"], last["imdb_id"]]), "sha256"] = "new"
    for order in (slice(None), slice(None, None, -1)):
        later = split(films[order], targets[order], known).set_index("imdb_id")["split"]
        assert (later[first["imdb_id"]], later[last["imdb_id"]]) == (first["split"], LEFT_OUT)


def test_a_new_film_with_the_new_image_of_a_known_one_gets_its_split() -> None:
    films, targets = make_films(200, 10**6)
    films["imdb_id"] += 10
    known = split(films, targets)
    # The new film is the first by id.
    films.loc[200] = [1, "new"]
    for film in known[known["split"] != "train"]["imdb_id"].head(10):
        changed = films.assign(sha256=films["sha256"].mask(films["imdb_id"] == film, "new"))
        later = split(changed, np.vstack([targets, targets[:1]]), known).set_index("imdb_id")["split"]
        assert later[film] == later[1] == known.set_index("imdb_id")["split"][film]


def test_an_image_that_a_film_had_before_stays_in_its_split() -> None:
    films, targets = make_films(200, 10**6)
    known = split(films, targets)
    film = known[known["split"] == "test"].iloc[0]
    # It has two rows: of the image before, and of the one that it shows now.
    known = pd.concat([known, known[known["imdb_id"] == film["imdb_id"]].assign(sha256="now")])
    films.loc[films["imdb_id"] == film["imdb_id"], "sha256"] = "now"
    films.loc[200] = [1000, film["sha256"]]
    later = split(films, np.vstack([targets, targets[:1]]), known).set_index("imdb_id")["split"]
    assert later[1000] == later[film["imdb_id"]] == "test"


def test_too_few_images() -> None:
    films = pd.DataFrame({"imdb_id": range(50), "sha256": ["a", "b", "c", "d", "e"] * 10})
    with pytest.raises(DatasetError, match="5 different posters are too few.*expected at least 10"):
        split(films, np.ones((50, 2), np.uint8))
    enough = pd.DataFrame({"imdb_id": range(10), "sha256": list("abcdefghij")})
    assert set(split(enough, np.ones((10, 2), np.uint8))["split"]) == {"train", "validation", "test"}


def test_held_out_films_are_the_test_split_of_every_seed() -> None:
    films, targets = make_films(500, 400)
    splits = [split_with_held_out(films, targets, 90, settings=DatasetSettings(), seed=seed) for seed in (3, 4)]
    test = splits[0] == "test"
    assert (test == (splits[1] == "test")).all()
    assert (splits[0] != splits[1]).any()
    # The lowest hashes, and all films of the last image.
    assert films["sha256"][test].max() < films["sha256"][~test].min()
    without_last_image = films["sha256"][test] < films["sha256"][test].max()
    assert without_last_image.sum() < 90 <= test.sum()
    # The validation split has its share of all images.
    validation = films["sha256"][splits[0] == "validation"].nunique()
    assert validation == pytest.approx(0.1 * films["sha256"].nunique(), abs=2)


def test_not_all_films_can_be_held_out() -> None:
    films, targets = make_films(500, 400)
    with pytest.raises(DatasetError, match="a split would be empty"):
        split_with_held_out(films, targets, 500, settings=DatasetSettings(), seed=0)
