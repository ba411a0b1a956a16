from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.checking import DamagedFileError
from tasks.dataset.splits import SPLIT_COLUMNS, read_splits, split_films, write_known_splits
from tasks.errors import DatasetError

NOTHING = pd.DataFrame({"imdb_id": [], "sha256": [], "split": []})


def make_films(num_films: int, num_images: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    images = [f"{image:04d}" for image in rng.integers(0, num_images, num_films)]
    targets = (rng.random((num_films, 5)) < [0.5, 0.3, 0.2, 0.1, 0.05]).astype(np.uint8)
    return pd.DataFrame({"imdb_id": range(num_films), "sha256": images}), targets


def run_split(
    films: pd.DataFrame, targets: np.ndarray, known: pd.DataFrame, seed: int, test_fraction: float = 0.1
) -> np.ndarray:
    fractions = {"validation_fraction": 0.1, "test_fraction": test_fraction}
    return split_films(films, targets, known, **fractions, seed=seed)


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


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 2**31 - 1))
def test_known_films_keep_their_split_and_new_ones_even_it_out(num_new: int, num_gone: int, seed: int) -> None:
    films, targets = make_films(400, 10**6, seed)
    known = split(films[num_new:], targets[num_new:], seed=seed)
    later = split(films[: 400 - num_gone], targets[: 400 - num_gone], known, seed)
    both = later.merge(known, on="imdb_id")
    assert len(both) == 400 - num_gone - num_new
    assert (both["split_x"] == both["split_y"]).all()
    if not num_gone:
        counts = later["split"].value_counts()
        assert {name: counts[name] for name in ("validation", "test")} == pytest.approx(
            {"validation": 40, "test": 40}, abs=8
        )


def test_one_new_film_a_run_still_fills_every_split() -> None:
    films, targets = make_films(300, 10**6)
    known = split(films[:100], targets[:100])
    for count in range(101, 301):
        known = split(films[:count], targets[:count], known)
    assert known["split"].value_counts().to_dict() == pytest.approx({"train": 240, "validation": 30, "test": 30}, abs=4)


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


def test_an_image_never_gets_into_a_second_split() -> None:
    films, targets = make_films(200, 10**6)
    known = split(films, targets)
    train, test = known[known["split"] == "train"].iloc[0], known[known["split"] == "test"].iloc[0]
    # A film of the test split now shows an image that is learned from.
    films.loc[films["imdb_id"] == test["imdb_id"], "sha256"] = train["sha256"]
    assert set(split(films, targets, known).loc[films["sha256"] == train["sha256"], "split"]) == {"train"}
    # Films of two splits now show the same new image.
    films.loc[films["imdb_id"].isin([test["imdb_id"], train["imdb_id"]]), "sha256"] = "new"
    assert split(films, targets, known).loc[films["sha256"] == "new", "split"].nunique() == 1


def test_too_few_images() -> None:
    films = pd.DataFrame({"imdb_id": range(50), "sha256": ["a", "b", "c", "d", "e"] * 10})
    with pytest.raises(DatasetError, match="5 different posters are too few.*expected at least 10"):
        split(films, np.ones((50, 2), np.uint8))


def test_known_splits_are_written_when_they_change_and_absent_films_keep_theirs(tmp_path: Path) -> None:
    path = tmp_path / "splits" / "seed-0.parquet"
    films = pd.DataFrame({"imdb_id": [3, 1], "sha256": ["c", "a"], "split": ["test", "train"], "title": "T"})
    write_known_splits(path, films, pd.DataFrame(columns=SPLIT_COLUMNS))
    known = read_splits(path)
    assert known.to_dict("list") == {"imdb_id": [1, 3], "sha256": ["a", "c"], "split": ["train", "test"]}
    before = path.stat().st_mtime_ns
    write_known_splits(path, films, known)
    assert path.stat().st_mtime_ns == before
    later = pd.DataFrame({"imdb_id": [2, 1], "sha256": ["b", "new"], "split": ["validation", "train"]})
    write_known_splits(path, later, known)
    assert read_splits(path).to_numpy().tolist() == [
        [1, "new", "train"],
        [2, "b", "validation"],
        [3, "c", "test"],
    ]


def test_any_flipped_byte_of_the_splits_is_seen_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "seed-0.parquet"
    films = pd.DataFrame({"imdb_id": range(50), "sha256": [f"{n:064d}" for n in range(50)], "split": "train"})
    write_known_splits(path, films, films.iloc[:0])
    whole = path.read_bytes()
    seen = 0
    for offset in range(0, len(whole), 7):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 0x11]) + whole[offset + 1 :])
        try:
            assert read_splits(path).equals(films), offset
        except DamagedFileError:
            seen += 1
    assert seen > 20


@pytest.mark.parametrize(
    ("films", "problem"),
    [
        ({"imdb_id": [1], "sha256": ["a"]}, "No match for FieldRef"),
        ({"imdb_id": [1], "sha256": ["a"], "split": ["training"]}, "expected imdb_id, .* the splits train"),
        ({"imdb_id": ["1"], "sha256": ["a"], "split": ["train"]}, "expected imdb_id, sha256, split"),
        ({"imdb_id": [1], "sha256": [None], "split": ["train"]}, "expected imdb_id, sha256, split"),
        ({"imdb_id": [1, 1], "sha256": ["a", "b"], "split": ["train", "test"]}, "expected each film once"),
    ],
)
def test_a_file_that_has_no_splits_is_damaged(tmp_path: Path, films: dict[str, list[object]], problem: str) -> None:
    path = tmp_path / "seed-0.parquet"
    pd.DataFrame(films).to_parquet(path)
    with pytest.raises(DamagedFileError, match=rf"seed-0.parquet is damaged \(.*{problem}"):
        read_splits(path)
