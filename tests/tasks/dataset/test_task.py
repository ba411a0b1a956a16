import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from ledger_rows import make_row, write_ledger

from tasks.catalog.cleaning import FILMS
from tasks.dataset.description import remove_shard
from tasks.dataset.records import parse_example
from tasks.dataset.task import Dataset, _check_sum, read_dataset, write_dataset
from tasks.errors import DatasetError
from tasks.posters import ledger
from tasks.progress import ProgressState, reporting_to
from tasks.settings import DatasetSettings

SETTINGS = DatasetSettings(min_posters_per_genre=20, shard_bytes=10_000)


def list_genres(index: int) -> list[str]:
    if index % 10 == 9:
        return ["Western"]
    return [["Drama"], ["Comedy"], ["Comedy", "Drama"]][index % 3]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Films and posters of 120 films: every twelfth has the image of the one before, three have none."""
    films, posters = [], []
    for index in range(120):
        content = f"poster {index - (index % 12 == 1)}".encode() * 50
        missing = index in (5, 6, 7)
        films.append(
            {
                "imdb_id": index,
                "title": f"T{index}",
                "year": 1990 if index % 2 else None,
                "score": None if index % 2 else 6.5,
                "genres": list_genres(index),
                "poster_url": "u",
            }
        )
        posters.append(make_row(index, None if missing else content, "u", format="jpeg"))
    pq.write_table(pa.Table.from_pylist(films, schema=FILMS), tmp_path / "films.parquet")
    write_ledger(tmp_path / "posters", posters, num_parts=2)
    return tmp_path


def write(
    work: Path, name: str = "shards", settings: DatasetSettings = SETTINGS, seed: int = 0, **options: Any
) -> Dataset:
    arguments: dict[str, Any] = {
        "catalog_path": work / "films.parquet",
        "posters_dir": work / "posters",
        "splits_dir": work / "splits",
        "folder": work / name,
        "settings": settings,
        "seed": seed,
    }
    return write_dataset.fn(**{**arguments, **options})


def read_records(dataset: Dataset) -> list[tuple[str, dict[str, object]]]:
    return [
        (path.name.split("-")[2], {name: value.numpy() for name, value in parse_example(record).items()})
        for path in sorted(dataset.folder.glob("*.tfrecord"))
        for record in tf.data.TFRecordDataset(str(path))
    ]


def test_every_film_with_a_poster_is_in_one_shard(work: Path) -> None:
    states: list[ProgressState] = []
    with reporting_to(states.append):
        dataset = write(work)
    records = read_records(dataset)
    assert (states[-1].done, states[-1].total, states[-1].has_ended) == (117, 117, True)
    assert dataset.genres == ["Comedy", "Drama"]
    assert sorted(dataset.shard_names) == sorted(path.name for path in dataset.folder.glob("*.tfrecord"))
    assert read_dataset(dataset.folder) == dataset
    assert sorted(int(record["imdb_id"]) for _, record in records) == [n for n in range(120) if n not in (5, 6, 7)]
    assert Counter(split for split, _ in records) == dataset.num_films
    for _, record in records:
        index = int(record["imdb_id"])
        assert record["image/encoded"].startswith(f"poster {index - (index % 12 == 1)}".encode())
        assert record["image/sha256"].decode() == hashlib.sha256(record["image/encoded"]).hexdigest()
        assert record["targets"].tolist() == [genre in list_genres(index) for genre in ("Comedy", "Drama")]


def test_no_image_is_in_two_splits(work: Path) -> None:
    splits_of: dict[bytes, set[str]] = {}
    for split, record in read_records(write(work)):
        splits_of.setdefault(record["image/sha256"], set()).add(split)
    assert len(splits_of) == 107
    assert all(len(splits) == 1 for splits in splits_of.values())


def test_description_and_films_agree_with_the_shards(work: Path) -> None:
    dataset = write(work)
    description = json.loads((dataset.folder / "dataset.json").read_text())
    assert description["dropped_genres"] == {"Western": 12}
    assert description["num_films_without_label"] == 12
    for name, about in description["shards"].items():
        assert hashlib.sha256((dataset.folder / name).read_bytes()).hexdigest() == about["sha256"]
    films = {row["imdb_id"]: row for row in pq.read_table(dataset.films_path).to_pylist()}
    counts = {genre: Counter() for genre in dataset.genres}
    for split, record in read_records(dataset):
        row = films.pop(int(record["imdb_id"]))
        assert (row["split"], row["targets"]) == (split, record["targets"].tolist())
        for genre, target in zip(dataset.genres, row["targets"], strict=True):
            counts[genre][split] += target
    assert not films
    assert counts == description["num_films_by_genre"]


def test_same_input_and_seed_same_bytes(work: Path) -> None:
    first, second, other = write(work, "a"), write(work, "b"), write(work, "c", seed=1)
    names = sorted(path.name for path in first.folder.iterdir())
    assert [(first.folder / name).read_bytes() for name in names] == [
        (second.folder / name).read_bytes() for name in names
    ]
    assert first.fingerprint == second.fingerprint != other.fingerprint


def test_unchanged_input_is_left_alone_and_changed_input_is_not(work: Path) -> None:
    write(work)
    files = [*(work / "shards").iterdir(), *(work / "splits").iterdir()]
    before = [path.stat().st_mtime_ns for path in files]
    write(work)
    assert [path.stat().st_mtime_ns for path in files] == before
    dropped = write(work, settings=SETTINGS.model_copy(update={"films_with_only_rare_genres": "drop"}))
    assert sum(dropped.num_films.values()) == 117 - 12


@pytest.mark.parametrize(("rare", "left_out"), [("negative", {}), ("drop", {"only rare genres": 12})])
def test_every_poster_is_a_record_or_left_out(
    work: Path, rare: str, left_out: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    dataset = write(work, settings=SETTINGS.model_copy(update={"films_with_only_rare_genres": rare}))
    num_left_out = sum(left_out.values())
    assert sum(dataset.num_films.values()) == 117 - num_left_out
    line = f"dataset: 117 posters = {117 - num_left_out} records + {num_left_out} left out: {left_out}"
    assert line in caplog.messages


def test_posters_that_do_not_add_up_are_a_bug() -> None:
    with pytest.raises(RuntimeError, match="117 posters became 100 records and 5 left out: a bug"):
        _check_sum(117, 100, {"only rare genres": 5})


def test_what_changed_is_logged(work: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    write(work)
    assert "inputs have changed" not in caplog.text
    assert "dataset: unchanged" not in caplog.text
    write(work)
    assert "dataset: unchanged, {'train': " in caplog.text
    caplog.clear()
    write(work, settings=SETTINGS.model_copy(update={"min_posters_per_genre": 19}))
    assert "dataset: inputs have changed: settings.min_posters_per_genre 20 -> 19" in caplog.text
    assert "shards: 0 written" in caplog.text


def test_without_shards_the_films_are_the_same(work: Path) -> None:
    dataset, without = write(work), write(work, "without", with_shards=False)
    assert without.shard_names == ()
    assert without.fingerprint == dataset.fingerprint
    assert pq.read_table(without.films_path).equals(pq.read_table(dataset.films_path))
    assert sorted(path.name for path in without.folder.iterdir()) == ["dataset.json", "films.parquet"]


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 2}'])
def test_a_description_that_cannot_be_read_is_written_again(work: Path, content: str) -> None:
    dataset = write(work)
    expected = {path.name: path.read_bytes() for path in dataset.folder.iterdir()}
    (dataset.folder / "dataset.json").write_text(content)
    assert write(work) == dataset
    assert {path.name: path.read_bytes() for path in dataset.folder.iterdir()} == expected


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def list_damages() -> list[tuple[str, Callable[[Path], None]]]:
    return [(name, damage) for name in ("films.parquet", "*train*") for damage in (Path.unlink, truncate, empty)]


@pytest.mark.parametrize(("name", "damage"), list_damages())
def test_a_damaged_file_alone_is_written_again(
    work: Path, caplog: pytest.LogCaptureFixture, name: str, damage: Callable[[Path], None]
) -> None:
    caplog.set_level(logging.WARNING)
    dataset = write(work)
    expected = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in dataset.folder.iterdir()}
    damaged, *_ = sorted(dataset.folder.glob(name))
    damage(damaged)
    assert write(work) == dataset
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in dataset.folder.iterdir()}
    assert {path: content for path, (content, _) in after.items()} == {
        path: content for path, (content, _) in expected.items()
    }
    # The two small files are written with any shard.
    changed = {path.name for path in after if after[path] != expected[path]}
    assert changed == {damaged.name, "films.parquet", "dataset.json"}
    (message,) = caplog.messages
    assert message.startswith(f"{damaged} is ")
    assert message.endswith("it is written again")


def test_an_altered_films_table_is_written_again(work: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    dataset = write(work)
    expected = dataset.films_path.read_bytes()
    flipped = bytearray(expected)
    flipped[len(flipped) // 3] ^= 1
    dataset.films_path.write_bytes(flipped)
    write(work)
    assert dataset.films_path.read_bytes() == expected
    assert [message.split(" is ")[0] for message in caplog.messages] == [str(dataset.films_path)]


def test_a_shard_with_a_flipped_byte_is_not_kept(work: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    dataset = write(work)
    shard, *_ = sorted(dataset.folder.glob("*train*"))
    expected, flipped = shard.read_bytes(), bytearray(shard.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    shard.write_bytes(flipped)
    # Another bound on the genres that leaves the same genres: new inputs of the same shards.
    write(work, settings=SETTINGS.model_copy(update={"min_posters_per_genre": 19}))
    assert shard.read_bytes() == expected
    assert [message.split(" is ")[0] for message in caplog.messages] == [str(shard)]


def test_a_removed_shard_is_written_again_without_another_warning(work: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    dataset = write(work)
    expected = {path.name: path.read_bytes() for path in dataset.folder.iterdir()}
    remove_shard(sorted(dataset.folder.glob("*train*"))[0])
    assert len(list(dataset.folder.iterdir())) == len(expected) - 1
    assert write(work) == dataset
    assert {path.name: path.read_bytes() for path in dataset.folder.iterdir()} == expected
    assert caplog.messages == []


def forget_sizes(folder: Path) -> None:
    """Makes `dataset.json` one of an earlier version, which described no sizes and no films.parquet."""
    path = folder / "dataset.json"
    description = json.loads(path.read_text())
    del description["films"]
    for shard in description["shards"].values():
        del shard["num_bytes"]
    path.write_text(json.dumps(description))


def test_the_shards_of_an_earlier_version_are_compared_once_and_kept(
    work: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    dataset = write(work)
    description = (dataset.folder / "dataset.json").read_bytes()
    forget_sizes(dataset.folder)
    before = {path: path.stat().st_mtime_ns for path in dataset.folder.iterdir()}
    assert write(work) == dataset
    after = {path: path.stat().st_mtime_ns for path in dataset.folder.iterdir()}
    assert {path.name for path in after if after[path] != before[path]} == {"dataset.json"}
    assert (dataset.folder / "dataset.json").read_bytes() == description
    assert caplog.messages == []
    write(work)
    assert {path: path.stat().st_mtime_ns for path in dataset.folder.iterdir()} == after


@pytest.mark.parametrize("name", ["films.parquet", "*train*"])
def test_a_damaged_file_of_an_earlier_version_is_written_again(
    work: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.WARNING)
    dataset = write(work)
    path, *_ = sorted(dataset.folder.glob(name))
    expected = path.read_bytes()
    forget_sizes(dataset.folder)
    flipped = bytearray(expected)
    flipped[len(flipped) // 3] ^= 1
    path.write_bytes(flipped)
    assert write(work) == dataset
    assert path.read_bytes() == expected
    assert [message.split(" is ")[0] for message in caplog.messages] == [str(path)]


def test_a_valid_description_with_another_count_is_written_again(work: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    dataset = write(work)
    path = dataset.folder / "dataset.json"
    expected = path.read_bytes()
    path.write_bytes(expected.replace(b'"Comedy"', b'"Conedy"'))
    assert write(work) == dataset
    assert path.read_bytes() == expected
    assert caplog.messages == [f"{path} is damaged: it is written again"]


def test_posters_that_are_gone_are_missed(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "iterate_posters", lambda *_: iter([]))
    with pytest.raises(DatasetError, match=r"117 posters of the ledger in .*posters are not in its files"):
        write(work)
    assert not (work / "shards").exists()


def test_other_shard_sizes_are_other_shards(work: Path) -> None:
    write(work)
    one = write(work, settings=SETTINGS.model_copy(update={"shard_bytes": 10_000_000}))
    assert len(list(one.folder.glob("*train*.tfrecord"))) == 1


def test_a_new_film_rewrites_its_shard_and_no_other(work: Path) -> None:
    films = pq.read_table(work / "films.parquet")
    pq.write_table(films.slice(0, 119), work / "films.parquet")
    before = write(work)
    shards = {path.name: path.stat() for path in before.folder.glob("*.tfrecord")}
    splits = {film["imdb_id"]: film["split"] for film in pq.read_table(before.films_path).to_pylist()}
    pq.write_table(films, work / "films.parquet")
    after = write(work)
    assert after.fingerprint != before.fingerprint
    changed = [name for name, stat in shards.items() if (after.folder / name).stat().st_mtime_ns != stat.st_mtime_ns]
    assert len(shards) > 3
    assert len(changed) == 1
    again = {film["imdb_id"]: film["split"] for film in pq.read_table(after.films_path).to_pylist()}
    assert again.pop(119)
    assert again == splits
    # All films, written at once with the same splits, are the same bytes.
    fresh = write(work, "fresh")
    for path in after.folder.iterdir():
        assert path.read_bytes() == (fresh.folder / path.name).read_bytes(), path.name


def test_a_film_that_comes_back_has_its_old_split(work: Path) -> None:
    films = pq.read_table(work / "films.parquet")
    splits = pq.read_table(write(work).films_path).to_pylist()
    pq.write_table(films.slice(60), work / "films.parquet")
    write(work)
    pq.write_table(films, work / "films.parquet")
    assert pq.read_table(write(work).films_path).to_pylist() == splits


def read_film_splits(dataset: Dataset) -> dict[int, str]:
    return {film["imdb_id"]: film["split"] for film in pq.read_table(dataset.films_path).to_pylist()}


def test_a_film_that_shows_an_image_of_another_split_is_left_out(work: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    splits = read_film_splits(write(work))
    (test_film, *_), (train_film, *_) = (
        [film for film, split in splits.items() if split == name and film % 12 > 1] for name in ("test", "train")
    )
    shutil.rmtree(work / "posters")
    films = [film if film != test_film else train_film for film in range(120)]
    contents = [f"poster {film - (film % 12 == 1)}".encode() * 50 for film in films]
    rows = [make_row(film, None if film in (5, 6, 7) else contents[film], "u", format="jpeg") for film in range(120)]
    write_ledger(work / "posters", rows, num_parts=2)
    later = read_film_splits(write(work))
    del splits[test_film]
    assert later == splits
    assert "dataset: 117 posters = 116 records + 1 left out: {'image of another split': 1}" in caplog.messages


def test_new_films_are_logged_by_split(work: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    films = pq.read_table(work / "films.parquet")
    pq.write_table(films.slice(0, 110), work / "films.parquet")
    write(work)
    pq.write_table(films, work / "films.parquet")
    splits = read_film_splits(write(work))
    counts = Counter(splits[film] for film in range(110, 120))
    (message,) = [message for message in caplog.messages if message.startswith("split: 107 films keep theirs")]
    assert message.startswith("split: 107 films keep theirs, 10 are new: {")
    assert all(f"'{name}': {count}" in message for name, count in counts.items())


def test_without_a_folder_of_splits_the_films_are_split_as_in_a_first_run(work: Path) -> None:
    films = pq.read_table(work / "films.parquet")
    pq.write_table(films.slice(40), work / "films.parquet")
    write(work)
    pq.write_table(films, work / "films.parquet")
    before = {path: path.read_bytes() for path in (work / "splits").iterdir()}
    anew = read_film_splits(write(work, "anew", splits_dir=None, with_shards=False))
    assert {path: path.read_bytes() for path in (work / "splits").iterdir()} == before
    grown = read_film_splits(write(work))
    assert anew != grown
    assert anew == read_film_splits(write(work, "first", splits_dir=work / "other_splits"))


def test_only_the_films_of_another_data_set(work: Path) -> None:
    films = pq.read_table(work / "films.parquet")
    pq.write_table(films.slice(0, 100), work / "films.parquet")
    among = write(work)
    pq.write_table(films, work / "films.parquet")
    dataset = write(work, "among", splits_dir=None, with_shards=False, among=among)
    assert sorted(read_film_splits(dataset)) == sorted(read_film_splits(among))


def test_too_few_genres(work: Path) -> None:
    with pytest.raises(DatasetError, match="--min-posters"):
        write(work, settings=DatasetSettings(min_posters_per_genre=1000))
    assert not (work / "shards").exists()


def test_no_poster_at_all(work: Path) -> None:
    shutil.rmtree(work / "posters")
    with pytest.raises(DatasetError, match="no poster was downloaded"):
        write(work)
