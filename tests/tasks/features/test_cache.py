from pathlib import Path

import numpy as np
import pytest

from tasks.features import cache
from tasks.features.cache import append_features, cache_dir, count_features, iterate_features, read_hashes

RNG = np.random.default_rng(0)


def test_features_come_back_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_ROWS_AT_ONCE", 2)
    features = RNG.random((4, 7), np.float32) * 6
    append_features(tmp_path / "part-00000.parquet", ["a", "b", "c"], features[:3])
    append_features(tmp_path / "part-00001.parquet", ["d"], features[3:])
    pieces = list(iterate_features(tmp_path))
    assert [hashes for hashes, _ in pieces] == [["a", "b"], ["c"], ["d"]]
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in pieces]), features.astype(np.float16))
    assert count_features(tmp_path) == 7
    assert count_features(tmp_path / "none") == 0


def test_parts_grow(tmp_path: Path) -> None:
    path = tmp_path / "part-00000.parquet"
    first, second = RNG.random((2, 2, 7), np.float32)
    append_features(path, ["a", "b"], first)
    append_features(path, ["c", "d"], second)
    assert read_hashes(tmp_path) == {"a", "b", "c", "d"}
    ((hashes, features),) = iterate_features(tmp_path)
    assert hashes == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(features, np.concatenate([first, second]).astype(np.float16))


def test_folder_depends_on_backbone_taps_and_preprocessing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache_dir(Path("features"), "abc", [])
    monkeypatch.setattr(cache.versions, "PREPROCESSING", 99)
    others = [("abd", []), ("abc", []), ("abc", ["x"]), ("abc", ["x", "y"]), ("abc", ["y", "x"])]
    assert len({before, *(cache_dir(Path("features"), *other) for other in others)}) == 6
