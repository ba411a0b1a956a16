from pathlib import Path

import numpy as np
import pytest

from tasks.features.cache import append_features, cache_dir, read_features, read_hashes

RNG = np.random.default_rng(0)


def test_features_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    features = RNG.random((3, 1280), np.float32) * 6
    append_features(tmp_path / "part-00000.parquet", ["a", "b"], features[:2])
    append_features(tmp_path / "part-00001.parquet", ["c"], features[2:])
    read = read_features(tmp_path, ["c", "a", "c", "b"])
    assert read.dtype == np.float16
    np.testing.assert_array_equal(read, features[[2, 0, 2, 1]].astype(np.float16))


def test_parts_grow(tmp_path: Path) -> None:
    path = tmp_path / "part-00000.parquet"
    first, second = RNG.random((2, 2, 1280), np.float32)
    append_features(path, ["a", "b"], first)
    append_features(path, ["c", "d"], second)
    assert read_hashes(tmp_path) == {"a", "b", "c", "d"}
    np.testing.assert_array_equal(
        read_features(tmp_path, ["b", "c"]), np.stack([first[1], second[0]]).astype(np.float16)
    )


def test_missing_features_are_named(tmp_path: Path) -> None:
    append_features(tmp_path / "part-00000.parquet", ["a"], np.zeros((1, 1280), np.float32))
    with pytest.raises(KeyError, match="1 images have no features.*b among them"):
        read_features(tmp_path, ["a", "b"])


def test_folder_depends_on_backbone_and_preprocessing(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.features import cache

    before = cache_dir(Path("features"), "abc")
    monkeypatch.setattr(cache.versions, "PREPROCESSING", 99)
    assert len({before, cache_dir(Path("features"), "abd"), cache_dir(Path("features"), "abc")}) == 3
