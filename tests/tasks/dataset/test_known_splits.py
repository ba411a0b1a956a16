from pathlib import Path

import pandas as pd
import pytest

from tasks.checking import DamagedFileError
from tasks.dataset.known_splits import (
    SPLIT_COLUMNS,
    merge_splits,
    name_earlier_splits_file,
    name_splits_file,
    read_splits,
    write_known_splits,
)
from tasks.settings import DatasetSettings


def test_names_of_files() -> None:
    assert name_splits_file(3) == "seed-3.parquet"
    assert name_earlier_splits_file(DatasetSettings(test_fraction=0.25), 3) == "seed-3-0.1-0.25.parquet"


def make_splits(*rows: tuple[int, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=SPLIT_COLUMNS)


def test_known_splits_stay_and_what_contradicts_them_is_dropped() -> None:
    known = make_splits((1, "a", "train"), (2, "b", "test"))
    more = make_splits(
        (9, "z", "validation"),
        (1, "a", "train"),
        (1, "a2", "train"),  # another image of a known film
        (1, "a3", "test"),  # a known film in another split
        (2, "b2", "validation"),
        (3, "b", "train"),  # a known image in another split
        (4, "b", "test"),
        (5, "e", "train"),
        (6, "e", "test"),  # the image of the row above in another split
        (7, "g", "test"),
        (7, "h", "train"),  # the film of the row above in another split
    )
    assert merge_splits(known, more).to_numpy().tolist() == [
        [1, "a", "train"],
        [1, "a2", "train"],
        [2, "b", "test"],
        [4, "b", "test"],
        [5, "e", "train"],
        [7, "g", "test"],
        [9, "z", "validation"],
    ]
    assert merge_splits(known, more[:0]).equals(known)
    assert merge_splits(known[:0], known[::-1]).equals(known)
    assert merge_splits(known[:0], known[:0]).empty


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
        [1, "a", "train"],
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
        ({"imdb_id": [1, 1], "sha256": ["a", "b"], "split": ["train", "test"]}, "expected each film in one split"),
    ],
)
def test_a_file_that_has_no_splits_is_damaged(tmp_path: Path, films: dict[str, list[object]], problem: str) -> None:
    path = tmp_path / "seed-0.parquet"
    pd.DataFrame(films).to_parquet(path)
    with pytest.raises(DamagedFileError, match=rf"seed-0.parquet is damaged \(.*{problem}"):
        read_splits(path)
