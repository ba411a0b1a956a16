import errno
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.checking import (
    CHECKSUMS,
    DamagedFileError,
    check_file,
    check_folder,
    check_result,
    is_whole,
    parquet_damage,
    write_checksums,
)
from tasks.hashing import describe_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "result"
    (path / "inner").mkdir(parents=True)
    (path / "a").write_text("aa")
    (path / "inner" / "b").write_text("bb")
    write_checksums(path)
    return path


def test_a_whole_folder_may_have_more_files(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "c").write_text("c")
    check_folder(folder)
    assert is_whole(folder)
    assert check_result(folder).state == "whole"
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a", None, "is missing"),
        ("inner/b", "b", "is damaged (1 bytes, expected 2)"),
        ("inner/b", "", "is damaged (0 bytes, expected 2)"),
        ("inner/b", "bc", "is damaged (its sha256 is another than when it was written)"),
        (CHECKSUMS, "{", "is damaged (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))"),
        (CHECKSUMS, "[]", "is damaged ('list' object has no attribute 'items')"),
        (CHECKSUMS, '{"a": {}}', "is damaged ('sha256')"),
        (CHECKSUMS, '{"a": 1}', "is damaged ('int' object is not subscriptable)"),
    ],
)
def test_damage_is_named_and_the_folder_removed(
    folder: Path, caplog: pytest.LogCaptureFixture, name: str, content: str | None, problem: str
) -> None:
    path = folder / name
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(DamagedFileError) as error:
        check_folder(folder)
    assert (error.value.path, error.value.problem) == (path, problem)
    assert not is_whole(folder)
    assert caplog.messages == [f"{path} {problem}: {folder} is made again"]
    check = check_result(folder)
    assert (check.path, check.state) == (folder, "removed")
    assert check.reason.startswith(f"{path} {problem}: ")
    assert not folder.exists()


def test_a_folder_of_an_earlier_version_is_unchecked(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / CHECKSUMS).unlink()
    assert check_result(folder).state == "unchecked"
    assert not is_whole(folder)
    assert caplog.messages == []


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("aa")
    described = describe_file(path)
    check_file(path, described)
    path.write_text("ab")
    check_file(path, described, with_hash=False)
    with pytest.raises(DamagedFileError, match="a is damaged \\(its sha256"):
        check_file(path, described)


def test_errors_of_parquet_are_damage_and_those_of_the_system_are_not(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": ["x" * 100] * 10}), path, write_page_checksum=True, compression="none")
    content = bytearray(path.read_bytes())
    content[content.index(b"xxxx")] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match="CRC checksum verification failed"), parquet_damage(path):
        pq.read_table(path, page_checksum_verification=True)
    path.write_bytes(b"")
    with (
        pytest.raises(DamagedFileError, match="is damaged .*file size is 0 bytes"),
        parquet_damage(path),
    ):
        pq.read_table(path)
    with pytest.raises(OSError, match="No space left"), parquet_damage(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(DamagedFileError, match="is missing"), parquet_damage(path):
        pq.read_table(tmp_path / "none")
