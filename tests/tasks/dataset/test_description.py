import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.dataset.description import collect_inputs, describe_dataset, read_description, write_description
from tasks.dataset.lists import make_categories
from tasks.settings import DatasetSettings

FILMS = pd.DataFrame(
    {
        "imdb_id": [1, 2, 3],
        "title": ["A", "B", "C"],
        "year": [1990, 0, 2001],
        "score": [6.5, 7.0, 0.0],
        "genres": [["Drama"], ["Drama", "War"], ["War"]],
        "sha256": ["a", "b", "c"],
        "split": ["train", "validation", "test"],
        "targets": make_categories([0, 1, 2], [(1, 0), (1, 1), (0, 1)]),
    }
)


def describe(**changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "films": FILMS,
        "genres": ["Drama", "War"],
        "genre_counts": {"Drama": 2, "War": 2, "Western": 1},
        "num_films_without_label": 1,
        "shard_fingerprints": {"train": "0" * 64},
        "settings": DatasetSettings(min_posters_per_genre=2),
        "seed": 0,
    }
    return describe_dataset(**{**arguments, **changes})


def test_description_counts_films() -> None:
    description = describe()
    assert description["num_films"] == {"train": 1, "validation": 1, "test": 1}
    assert description["num_films_by_genre"] == {
        "Drama": {"train": 1, "validation": 1, "test": 0},
        "War": {"train": 0, "validation": 1, "test": 1},
    }
    assert description["dropped_genres"] == {"Western": 1}


def test_keys_are_those_of_earlier_versions(tmp_path: Path) -> None:
    description = describe()
    description["shards"]["train"]["sha256"] = "1" * 64
    write_description(description, tmp_path)
    assert read_description(tmp_path) == description
    # Written down once: with other keys, every data set would be written again.
    assert list(json.loads((tmp_path / "dataset.json").read_text("utf-8"))) == [
        "version",
        "fingerprint",
        "seed",
        "settings",
        "vocabulary",
        "dropped_genres",
        "num_films_without_label",
        "num_films",
        "num_films_by_genre",
        "features",
        "shards",
    ]
    assert description["shards"] == {"train": {"made_of": "0" * 64, "sha256": "1" * 64}}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"shards": {"train": {"made_of": "0" * 64}}}, "shards.train.sha256: Field required"),
        ({"shards": ["train"]}, "shards: Input should be a valid dictionary"),
        ({"seed": "0"}, "seed: Input should be a valid integer"),
        ({"fingerprint": None}, "fingerprint: Input should be a valid string"),
    ],
)
def test_a_description_of_another_shape_is_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], problem: str
) -> None:
    write_description({**describe(shard_fingerprints={}), **changes}, tmp_path)
    assert read_description(tmp_path) == {}
    assert caplog.messages == [f"{tmp_path / 'dataset.json'} is damaged ({problem}): the data set is written again"]


def test_the_hash_of_a_shard_is_no_input() -> None:
    description = describe()
    with_hashes = {**description, "shards": {"train": {"sha256": "1" * 64, "made_of": "0" * 64}}}
    assert collect_inputs(description) == collect_inputs(with_hashes)


@pytest.mark.parametrize(
    ("changes", "change"),
    [
        ({"seed": 1}, "seed 0 -> 1"),
        ({"settings": DatasetSettings(min_posters_per_genre=1)}, "settings.min_posters_per_genre 2 -> 1"),
        ({"genre_counts": {"Drama": 2, "War": 2}}, "dropped_genres.Western 1 -> null"),
        ({"num_films_without_label": 2}, "num_films_without_label 1 -> 2"),
        ({"films": FILMS.assign(year=1980)}, "fingerprint "),
        ({"genres": ["Drama", "Western"]}, "fingerprint "),
        ({"shard_fingerprints": {"train": "1" * 64}}, "shards "),
        ({"shard_fingerprints": {}}, "shards "),
    ],
)
def test_every_input_counts_and_its_change_is_named(changes: dict[str, Any], change: str) -> None:
    before, now = collect_inputs(describe()), collect_inputs(describe(**changes))
    assert now.fingerprint != before.fingerprint
    assert change in now.describe_change(before.values)
