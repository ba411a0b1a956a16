import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.features import images
from tasks.features.cache import list_files, write_features
from tasks.features.images import Images, make_keys, read_image_keys


def hash_names(names: Sequence[str]) -> list[str]:
    return [hashlib.sha256(name.encode()).hexdigest() for name in names]


def write(folder: Path, names: Sequence[str]) -> Path:
    return write_features(folder, hash_names(names), np.ones((len(names), 7), np.float32))


def keys_of(names: Sequence[str]) -> list[bytes]:
    return sorted(sha256[:32].encode() for sha256 in hash_names(names))


def read_sorted(folder: Path) -> list[bytes]:
    return sorted(read_image_keys(folder, num_features=7).tolist())


def test_keys_are_the_first_half_of_the_hashes() -> None:
    hashes = hash_names("abc")
    assert make_keys(pa.array(hashes)).tolist() == [sha256[:32].encode() for sha256 in hashes]
    # Part of an array, whose bytes are those of the whole one; and an array in pieces.
    assert make_keys(pa.array(hashes)[1:]).tolist() == make_keys(pa.array(hashes)).tolist()[1:]
    assert make_keys(pa.chunked_array([hashes[:1], [], hashes[1:]])).tolist() == make_keys(pa.array(hashes)).tolist()
    assert make_keys(pa.chunked_array([], pa.string())).shape == (0,)


@given(st.lists(st.integers(0, 5), max_size=12), st.lists(st.integers(0, 9), max_size=12))
def test_each_image_has_one_number(shown: list[int], sought: list[int]) -> None:
    found = Images(pa.array(hash_names([str(name) for name in shown]), pa.string()))
    assert len(found) == len(set(shown))
    numbers = dict(zip(shown, found.numbers.tolist(), strict=True))
    assert sorted(numbers.values()) == list(range(len(found)))
    keys = make_keys(pa.array(hash_names([str(name) for name in sought]), pa.string()))
    assert found.find(keys).tolist() == [numbers.get(name, -1) for name in sought]


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    read_hashes = images.read_hashes
    monkeypatch.setattr(images, "read_hashes", lambda path, number: [read.append(path), read_hashes(path, number)][1])
    assert read_sorted(tmp_path / "none") == []
    assert not (tmp_path / "none").exists()
    first, second = write(tmp_path, "ab"), write(tmp_path, "c")
    assert read_sorted(tmp_path) == read_sorted(tmp_path) == keys_of("abc")
    assert sorted(read) == sorted([first, second])
    third = write(tmp_path, "d")
    first.unlink()
    assert read_sorted(tmp_path) == read_sorted(tmp_path) == keys_of("cd")
    assert read[2:] == [third]
    # The hidden file is none of the features.
    assert list_files(tmp_path) == sorted([second, third])


def test_a_file_of_an_earlier_version_is_read_each_time(tmp_path: Path) -> None:
    """Its name tells nothing of its images."""
    part = tmp_path / "part-00000.parquet"
    write(tmp_path, "ab").rename(part)
    assert read_sorted(tmp_path) == keys_of("ab")
    write(tmp_path, "c").rename(part)
    assert read_sorted(tmp_path) == keys_of("c")


def test_a_damaged_file_is_removed_with_one_warning_and_the_others_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, damaged = write(tmp_path, "ab"), write(tmp_path, "c")
    damaged.write_bytes(damaged.read_bytes()[:-20])
    assert read_sorted(tmp_path) == keys_of("ab")
    assert list_files(tmp_path) == [path]
    (message,) = caplog.messages
    assert message.startswith(f"{damaged} is damaged (")
    assert message.endswith("): the features of its images are extracted again")


@pytest.mark.parametrize("content", [b"", b"not Parquet, though of several bytes"])
def test_what_is_known_is_made_again_if_it_is_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    write(tmp_path, "ab")
    read_sorted(tmp_path)
    index = tmp_path / ".images.parquet"
    index.write_bytes(content)
    assert read_sorted(tmp_path) == keys_of("ab")
    assert f"{index} is damaged" in caplog.text
    caplog.clear()
    assert read_sorted(tmp_path) == keys_of("ab")
    assert not caplog.messages
