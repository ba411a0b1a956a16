import numpy as np
import pandas as pd
import pytest

from tasks.inspection.balance import measure_balance


def make_films(rows: list[tuple[str, list[int]]]) -> pd.DataFrame:
    return pd.DataFrame({"split": split, "targets": np.array(targets, np.uint8)} for split, targets in rows)


def test_shares_are_compared_with_those_of_all_films() -> None:
    # Ten films: 6 train, 2 validation, 2 test. Comedy has 5, War 2, both in the test split.
    films = make_films(
        [
            *[("train", [1, 0])] * 2,
            *[("train", [0, 0])] * 4,
            *[("validation", [1, 0])] * 2,
            ("test", [1, 1]),
            ("test", [0, 1]),
        ]
    )
    comedy, war = measure_balance(films, ["Comedy", "War"])
    assert comedy.num_films == {"train": 2, "validation": 2, "test": 1}
    assert comedy.shares == pytest.approx({"train": 0.4, "validation": 0.4, "test": 0.2})
    assert comedy.deviation == pytest.approx(0.2)  # 0.4 of the films where 0.6, and 0.4 where 0.2 are expected
    assert war.num_films == {"train": 0, "validation": 0, "test": 2}
    assert war.shares == {"train": 0, "validation": 0, "test": 1}
    assert war.deviation == pytest.approx(0.8)


def test_a_genre_without_films_has_no_share() -> None:
    (genre,) = measure_balance(make_films([("train", [0]), ("test", [0])]), ["Comedy"])
    assert set(genre.shares.values()) == {0}
    assert genre.deviation == pytest.approx(0.5)
