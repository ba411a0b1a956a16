from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.dataset.shards import (
    assign_shards,
    count_shards,
    fingerprint_films,
    keep_shards,
    list_parts_of_shard,
    locate_films,
    shard_name,
    shard_of,
)
from tasks.hashing import hash_file
from tasks.posters.ledger import assign_part


def make_films(ids: list[int]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "imdb_id": ids,
            "title": [f"T{imdb_id}" for imdb_id in ids],
            "year": 1990,
            "score": 6.5,
            "genres": [["Drama"] for _ in ids],
            "sha256": [f"{imdb_id:064d}" for imdb_id in ids],
            "split": ["test" if imdb_id % 10 == 0 else "train" for imdb_id in ids],
            "num_bytes": 100,
        }
    )


def test_shard_name() -> None:
    assert shard_name("train", 0, 8) == "movie-posters-train-00000-of-00008.tfrecord"


@pytest.mark.parametrize(
    ("num_bytes", "count"), [(0, 1), (1, 1), (100, 1), (101, 2), (200, 2), (201, 4), (400, 4), (1000, 16)]
)
def test_count_is_the_least_power_of_two(num_bytes: int, count: int) -> None:
    assert count_shards(num_bytes, 100) == count


@given(st.integers(0, 10**12), st.integers(1, 64))
def test_shard_is_in_range(imdb_id: int, count: int) -> None:
    assert 0 <= shard_of(imdb_id, count) < count


def test_shard_of_a_film_never_changes() -> None:
    # Written down once: another value would rewrite every shard.
    assert [shard_of(imdb_id, 64) for imdb_id in (114709, 1, 0)] == [15, 54, 53]


@given(st.integers(0, 10**12), st.integers(0, 6), st.integers(0, 6))
def test_a_film_of_a_shard_is_in_one_of_its_parts(imdb_id: int, shards_power: int, parts_power: int) -> None:
    count, num_parts = 1 << shards_power, 1 << parts_power
    parts = list_parts_of_shard(shard_name("train", shard_of(imdb_id, count), count), num_parts)
    assert assign_part(imdb_id, num_parts) in parts
    # And no shard reads more parts than it has to.
    assert len(parts) == max(1, num_parts // count)


def test_every_film_is_in_one_shard_of_its_split() -> None:
    films = make_films(list(range(1000)))
    shards = assign_shards(films, 20_000)
    assert sorted(shards) == [
        *(shard_name("test", index, 1) for index in range(1)),
        *(shard_name("train", index, 8) for index in range(8)),
    ]
    assert sorted(row for rows in shards.values() for row in rows) == list(range(1000))
    names = sorted(shards, reverse=True)
    for name, rows in shards.items():
        assert sorted(rows) == rows.tolist()
        shard_films = films.iloc[rows]
        assert set(shard_films["split"]) == {name.split("-")[2]}
        located = locate_films(shard_films["imdb_id"].to_numpy(), pa.array(shard_films["split"]), names)
        assert [names[number] for number in located] == [name] * len(shard_films)


def test_a_new_film_touches_one_shard() -> None:
    films = make_films(list(range(1000)))
    more = make_films([*range(1000), 5001])
    before, after = assign_shards(films, 20_000), assign_shards(more, 20_000)
    changed = [
        name
        for name in before
        if fingerprint_films(films.iloc[before[name]], ["Drama"])
        != fingerprint_films(more.iloc[after[name]], ["Drama"])
    ]
    assert changed == [shard_name("train", shard_of(5001, 8), 8)]


@pytest.mark.parametrize("column", ["title", "year", "score", "sha256", "split"])
def test_fingerprint_sees_every_change(column: str) -> None:
    films = make_films([1, 2, 3])
    other = films.copy()
    other.loc[1, column] = 2000 if column in ("year", "score") else "another"
    assert fingerprint_films(films, ["Drama"]) != fingerprint_films(other, ["Drama"])
    assert fingerprint_films(films, ["Drama"]) != fingerprint_films(films, ["Drama", "Comedy"])
    assert fingerprint_films(films, ["Drama"]) == fingerprint_films(films.copy(), ["Drama"])


def test_only_whole_shards_of_the_same_films_are_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    for name in ("a", "b", "cut", "flipped"):
        (old / name).write_text("A")
    about = {"sha256": hash_file(old / "a"), "num_bytes": 1}
    described = {name: {**about, "made_of": name * 2} for name in ("a", "b", "cut", "flipped", "gone")}
    (old / "cut").write_text("")
    (old / "flipped").write_text("B")
    fingerprints = {name: name * 2 for name in (*described, "new")} | {"b": "other"}
    kept = keep_shards(source=old, target=new, described=described, fingerprints=fingerprints)
    assert kept == {"a": {**about, "made_of": "aa"}}
    assert [path.read_text() for path in new.iterdir()] == ["A"]
    assert caplog.messages == [
        f"{old / 'cut'} is damaged (0 bytes, expected 1): it is written again",
        f"{old / 'flipped'} is damaged (its sha256 is another than when it was written): it is written again",
        f"{old / 'gone'} is missing: it is written again",
    ]
