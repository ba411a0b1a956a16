from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.features import cache
from tasks.features.cache import (
    FeatureKey,
    count_features,
    iterate_features,
    list_files,
    make_schema,
    read_hashes,
    write_features,
)

RNG = np.random.default_rng(0)


def test_features_come_back_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_ROWS_AT_ONCE", 2)
    features = {name: RNG.random(7, np.float32) * 6 for name in "abcd"}
    write_features(tmp_path, ["a", "b", "c"], np.stack([features[name] for name in "abc"]))
    write_features(tmp_path, ["d"], features["d"][np.newaxis])
    pieces = list(iterate_features(tmp_path))
    assert sorted(hashes for hashes, _ in pieces) == [["a", "b"], ["c"], ["d"]]
    for hashes, rows in pieces:
        np.testing.assert_array_equal(rows, [features[name].astype(np.float16) for name in hashes])
    assert read_hashes(tmp_path) == {"a", "b", "c", "d"}
    assert count_features(tmp_path) == 7
    assert (read_hashes(tmp_path / "none"), count_features(tmp_path / "none")) == (set(), 0)


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
    assert read_hashes(tmp_path) == {"a", "b", "c"}
    (hashes, rows), _ = iterate_features(tmp_path)
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
    names |= {FeatureKey(*key, view="upper-half").folder_name for key in keys}
    assert len({before, *names}) == 11
