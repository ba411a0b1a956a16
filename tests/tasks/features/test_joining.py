import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.storing import FEATURES_PATTERN
from tasks.dataset.task import Dataset
from tasks.errors import RepairedError
from tasks.features.cache import list_files, view_folder, write_features
from tasks.features.images import read_image_keys
from tasks.features.joining import join_features, open_features
from tasks.features.views import Views
from tasks.storage.folders import StoredFolder

# Film 3 and film 5, of other splits, show the same image.
FILMS = [(1, "a", "train"), (2, "b", "test"), (3, "c", "train"), (4, "d", "validation"), (5, "c", "test")]
VECTORS = {name: np.full(5, number, np.float32) for number, name in enumerate("abcd")}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    _, hashes, splits = zip(*FILMS, strict=True)
    pq.write_table(pa.table({"sha256": list(hashes), "split": list(splits)}), tmp_path / "films.parquet")
    return Dataset(tmp_path, ["Odd", "All"], {}, "fingerprint")


@pytest.fixture
def features(tmp_path: Path) -> Path:
    folder = tmp_path / "features"
    write_features(folder, ["d", "x", "c"], np.stack([VECTORS[name] for name in "dac"]))
    write_features(folder, ["b", "a"], np.stack([VECTORS[name] for name in "ba"]))
    return folder


def test_films_get_the_features_of_their_images(dataset: Dataset, features: Path) -> None:
    join_features(dataset, features)
    for split in ("train", "validation", "test"):
        expected = [VECTORS[name] for _, name, film_split in FILMS if film_split == split]
        np.testing.assert_array_equal(open_features(dataset, features, split).read(), expected)


def test_a_split_without_films_has_no_rows(dataset: Dataset, features: Path) -> None:
    films = pq.read_table(dataset.films_path)
    pq.write_table(films.filter(pa.array([split == "train" for _, _, split in FILMS])), dataset.films_path)
    join_features(dataset, features)
    assert [len(open_features(dataset, features, split)) for split in ("train", "validation", "test")] == [2, 0, 0]


def test_the_join_is_written_once_and_kept_for_its_data_set_alone(dataset: Dataset, features: Path) -> None:
    join_features(dataset, features)
    path = open_features(dataset, features, "train").paths[0]
    before = path.stat().st_mtime_ns
    join_features(dataset, features)
    assert path.stat().st_mtime_ns == before
    other = replace(dataset, fingerprint="another")
    with pytest.raises(FileNotFoundError, match="expected join_features to be called first"):
        open_features(other, features, "train")
    join_features(other, features)
    assert open_features(other, features, "train").paths[0].parent != path.parent
    assert not path.parent.exists()


def test_missing_features_are_named_and_nothing_is_left(dataset: Dataset, features: Path) -> None:
    whole, part = sorted(features.iterdir(), key=lambda path: pq.read_metadata(path).num_rows, reverse=True)
    part.unlink()
    with pytest.raises(KeyError, match="2 images have no features.*a among them"):
        join_features(dataset, features)
    assert list(features.iterdir()) == [whole]


def test_a_damaged_join_is_made_again(dataset: Dataset, features: Path, caplog: pytest.LogCaptureFixture) -> None:
    join_features(dataset, features)
    path = open_features(dataset, features, "train").paths[0]
    whole = path.read_bytes()
    caplog.set_level(logging.WARNING)
    for content in (whole[:-1], b"", whole[:-3] + b"\x11" + whole[-2:], None):
        caplog.clear()
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        join_features(dataset, features)
        assert path.read_bytes() == whole
        (message,) = caplog.messages
        assert message.startswith(f"{path} is {'missing' if content is None else 'damaged'}")
    (path.parent / "checksums.json").unlink()  # as an earlier version left it
    join_features(dataset, features)
    assert (path.parent / "checksums.json").exists()


def test_damaged_features_are_removed_all_at_once_and_joined_are_none(
    dataset: Dataset, features: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = sorted(features.iterdir())
    for path in paths:
        content = bytearray(path.read_bytes())
        content[content.index(VECTORS["a"].astype(np.float16).tobytes())] ^= 1
        path.write_bytes(content)
    with pytest.raises(RepairedError, match=rf"{paths[0].name} is damaged.*{paths[1].name} is damaged.*run again"):
        join_features(dataset, features)
    assert len(caplog.messages) == 2
    assert list(features.iterdir()) == []


def test_an_array_of_another_size_is_refused(dataset: Dataset, features: Path) -> None:
    join_features(dataset, features)
    path = open_features(dataset, features, "train").paths[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"train.npy has \d+ bytes, expected \d+"):
        open_features(dataset, features, "train")


def test_training_films_are_joined_in_more_views(dataset: Dataset, features: Path) -> None:
    write_features(view_folder(features, 1), list("abcd"), np.stack([VECTORS[name] + 1 for name in "abcd"]))
    write_features(view_folder(features, 2), ["a", "c"], np.stack([VECTORS[name] + 2 for name in "ac"]))
    views = Views(train=3, predicted=2)
    join_features(dataset, features, views)
    train = open_features(dataset, features, "train", 3)
    assert [train.read(view=view)[:, 0].tolist() for view in range(3)] == [[0, 2], [1, 3], [2, 4]]
    test = open_features(dataset, features, "test", 2)
    assert [test.read(view=view)[:, 0].tolist() for view in range(2)] == [[1, 2], [2, 3]]
    with pytest.raises(FileNotFoundError, match="expected join_features to be called first"):
        open_features(dataset, features, "test", 3)
    # More views of the test films are joined, too, once they are wanted.
    write_features(view_folder(features, 2), ["b", "d"], np.stack([VECTORS[name] + 2 for name in "bd"]))
    join_features(dataset, features, Views(train=3, predicted=3))
    assert open_features(dataset, features, "test", 3).read(view=2)[:, 0].tolist() == [3, 4]


def test_features_that_are_in_a_store_alone_are_joined_and_not_copied(
    dataset: Dataset, features: Path, tmp_path: Path
) -> None:
    join_features(dataset, features)
    expected = open_features(dataset, features, "train").read()
    folder = StoredFolder(str(tmp_path / "store"), features, FEATURES_PATTERN)
    folder.pull()
    folder.commit(dict.fromkeys(folder.list_files()))
    elsewhere = StoredFolder(folder.address, tmp_path / "elsewhere" / "features", FEATURES_PATTERN)
    elsewhere.pull(lambda _: False)
    assert sorted(read_image_keys(elsewhere.folder)) == sorted(read_image_keys(features))
    join_features(dataset, elsewhere.folder)
    np.testing.assert_array_equal(open_features(dataset, elsewhere.folder, "train").read(), expected)
    assert not list_local_files(elsewhere.folder)
    # A file there that is damaged leaves the store, as one that is here does.
    (path, _) = list_files(elsewhere.folder)
    (damaged,) = (tmp_path / "store" / "features").glob(f"{path.stem}*")
    damaged.write_bytes(damaged.read_bytes()[:-40] + bytes(40))
    with pytest.raises(RepairedError, match=f"{path.name} is damaged"):
        join_features(replace(dataset, fingerprint="another"), elsewhere.folder)
    assert len(elsewhere.list_all_files()) == 1


def list_local_files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith("features-")]
