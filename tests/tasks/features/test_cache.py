from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.checking import DamagedFileError
from tasks.features import cache
from tasks.features.cache import (
    FeatureKey,
    check_features_file,
    count_features,
    iterate_features,
    list_files,
    list_view_folders,
    make_schema,
    read_hashes,
    remove_damaged,
    view_folder,
    write_features,
)

RNG = np.random.default_rng(0)


def test_features_come_back_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_ROWS_AT_ONCE", 2)
    features = {name: RNG.random(7, np.float32) * 6 for name in "abcd"}
    write_features(tmp_path, ["a", "b", "c"], np.stack([features[name] for name in "abc"]))
    write_features(tmp_path, ["d"], features["d"][np.newaxis])
    pieces = [piece for path in list_files(tmp_path) for piece in iterate_features(path)]
    assert sorted(hashes for hashes, _ in pieces) == [["a", "b"], ["c"], ["d"]]
    for hashes, rows in pieces:
        np.testing.assert_array_equal(rows, [features[name].astype(np.float16) for name in hashes])
    assert count_features(tmp_path) == 7
    assert count_features(tmp_path / "none") == 0


def test_a_file_is_named_by_its_images_and_never_rewritten(tmp_path: Path) -> None:
    first, second = RNG.random((2, 2, 7), np.float32)
    path = write_features(tmp_path, ["a", "b"], first)
    before = path.stat().st_mtime_ns
    other = write_features(tmp_path, ["c", "d"], second)
    assert (path.name, path.stat().st_mtime_ns) == (cache.name_file(["b", "a"]), before)
    assert path != other
    assert sorted(tmp_path.iterdir()) == sorted([path, other])


def test_parts_of_earlier_versions_are_read(tmp_path: Path) -> None:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(6, dtype=np.float16)), 3)
    part = tmp_path / "part-00000.parquet"
    pq.write_table(pa.table([pa.array(["a", "b"]), vectors], schema=make_schema(3)), part)
    path = write_features(tmp_path, ["c"], np.ones((1, 3), np.float32))
    (tmp_path / "gathered-0").mkdir()
    assert list_files(tmp_path) == [part, path]
    assert [read_hashes(file).to_pylist() for file in (part, path)] == [["a", "b"], ["c"]]
    ((hashes, rows),) = iterate_features(part)
    assert (hashes, rows.tolist()) == (["a", "b"], [[0, 1, 2], [3, 4, 5]])


def test_folder_depends_on_everything_that_decides_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    # Written down once: another name would extract all features again.
    key = FeatureKey("8a442f7c42a409cb", ("block_13_expand_relu", "block_16_expand_relu"), preprocessing=2)
    assert key.folder_name == "8a442f7c42a409cb-v2-f3e43140"
    before = FeatureKey("abc", ()).folder_name
    assert before == f"abc-v{cache.versions.PREPROCESSING}"
    monkeypatch.setattr(cache.versions, "PREPROCESSING", 99)
    keys = [("abd", ()), ("abc", ()), ("abc", ("x",)), ("abc", ("x", "y")), ("abc", ("y", "x"))]
    names = {FeatureKey(*key).folder_name for key in keys}
    names |= {FeatureKey(*key, image_size=(384, 256)).folder_name for key in keys}
    assert len({before, *names}) == 11
    assert FeatureKey("abc", (), (384, 256), 2).folder_name == "abc-v2-384x256"


def test_each_view_has_a_folder_of_its_own(tmp_path: Path) -> None:
    assert view_folder(tmp_path, 0) == tmp_path
    for view in (1, 12):
        write_features(view_folder(tmp_path, view), ["a"], RNG.random((1, 7), np.float32))
    (tmp_path / "gathered-0").mkdir()
    assert list_view_folders(tmp_path) == [tmp_path, *sorted(view_folder(tmp_path, view) for view in (1, 12))]
    assert list_files(tmp_path) == []


def write_without_checksums(folder: Path, name: str, features: np.ndarray) -> Path:
    """Writes a file as earlier versions did, which computed no checksums."""
    path = folder / name
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(features.astype(np.float16).ravel()), features.shape[1])
    hashes = pa.array([str(row) for row in range(len(features))])
    pq.write_table(pa.table([hashes, vectors], schema=make_schema(features.shape[1])), path, compression="none")
    return path


def test_any_flipped_byte_of_a_file_is_seen_or_changes_nothing(tmp_path: Path) -> None:
    features = RNG.random((30, 40), np.float32) * 6
    hashes = [f"{row:064d}" for row in range(30)]
    path = write_features(tmp_path, hashes, features)
    whole, expected = path.read_bytes(), features.astype(np.float16)
    start = whole.index(expected.tobytes()[:64])
    num_seen = 0
    for offset in range(0, len(whole), 7):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 0x11]) + whole[offset + 1 :])
        try:
            check_features_file(path)
            ((names, rows),) = iterate_features(path)
        except DamagedFileError:
            num_seen += 1
            continue
        assert not start <= offset < start + expected.nbytes
        assert (names, rows.tolist()) == (hashes, expected.tolist()), offset
    assert num_seen > len(whole) / 7 / 2


@pytest.mark.parametrize("value", [np.nan, np.inf, 6.01, -0.01, 2710.0])
def test_impossible_values_of_a_file_without_checksums_are_seen(tmp_path: Path, value: float) -> None:
    features = RNG.random((3, 4)) * 6
    features[0] = [0.0, 6.0, -0.0, 3.0]
    path = write_without_checksums(tmp_path, "part-00000.parquet", features)
    check_features_file(path)
    features[2, 1] = value
    write_without_checksums(tmp_path, "part-00000.parquet", features)
    with pytest.raises(DamagedFileError, match=r"part-00000.parquet is damaged \(some of its features are not in"):
        check_features_file(path)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def write_text(path: Path) -> None:
    path.write_text("not Parquet, though of several bytes")


def write_other_columns(path: Path) -> None:
    pq.write_table(pa.table({"sha256": ["c"], "features": [1.0]}), path)


def write_one_column(path: Path) -> None:
    pq.write_table(pa.table({"sha256": ["c"]}), path)


def write_other_images(path: Path) -> None:
    write_features(path.parent, ["x"], np.ones((1, 7), np.float32)).rename(path)


def write_fewer_features(path: Path) -> None:
    path.unlink()
    write_features(path.parent, ["c"], np.ones((1, 6), np.float32))


@pytest.mark.parametrize(
    "damage",
    [truncate, empty, write_text, write_other_columns, write_one_column, write_other_images, write_fewer_features],
)
def test_damage_is_seen_by_the_hashes(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    damaged = write_features(tmp_path, ["c"], RNG.random((1, 7), np.float32))
    damage(damaged)
    with pytest.raises(DamagedFileError, match=rf"{damaged} is damaged \("):
        read_hashes(damaged, num_features=7)


def test_a_damaged_file_is_removed_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, damaged = (write_features(tmp_path, [name], RNG.random((1, 7), np.float32)) for name in "ab")
    remove_damaged(DamagedFileError(damaged, "is damaged"))
    assert list_files(tmp_path) == [path]
    assert caplog.messages == [f"{damaged} is damaged: the features of its images are extracted again"]
