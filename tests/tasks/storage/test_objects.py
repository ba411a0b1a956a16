"""Against a folder, a real S3-compatible server, and a server that is not there."""

import io
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs

from tasks.errors import RegistryError, StoreError
from tasks.storage.objects import ObjectStore


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return ObjectStore(str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("s3"))


def test_objects_are_written_read_listed_and_removed(store: ObjectStore, tmp_path: Path) -> None:
    assert store.read("a/one.bin") is None
    assert store.list_names("a") == []
    store.write("a/one.bin", b"one")
    store.write("a/one.bin", b"another")
    (tmp_path / "file").write_bytes(b"two")
    store.send(tmp_path / "file", "a/two.bin")
    assert store.list_names("a") == ["one.bin", "two.bin"]
    assert (store.read("a/one.bin"), store.read("a/two.bin")) == (b"another", b"two")
    assert store.find_size("a/two.bin") == 3
    store.write("more/b/three.bin", b"")
    assert store.list_sizes("a") == {"one.bin": 7, "two.bin": 3}
    assert store.list_sizes("more") == {"b/three.bin": 0}
    assert store.list_sizes("none") == {}
    store.fetch("a/two.bin", 3, tmp_path / "new" / "copy")
    assert (tmp_path / "new" / "copy").read_bytes() == b"two"
    store.remove("a/two.bin")
    store.remove("a/two.bin")
    assert store.list_names("a") == ["one.bin"]


def test_many_objects_are_removed_by_one_request(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ObjectStore(s3)
    names = [f"files/{number}.bin" for number in range(5)]
    for name in names:
        store.write(name, b"content")
    calls: list[str] = []
    call = s3fs.S3FileSystem._call_s3

    async def watch(self: s3fs.S3FileSystem, method: str, *arguments: object, **options: object) -> object:
        calls.append(method)
        return await call(self, method, *arguments, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", watch)
    store.remove_all([*names[:4], "files/never-written.bin"])
    assert calls == ["delete_objects"]
    assert store.list_names("files") == ["4.bin"]


def test_only_the_named_objects_are_removed(store: ObjectStore) -> None:
    for name in ("files/a*.bin", "files/ab.bin", "files/c.bin"):
        store.write(name, b"content")
    store.remove_all([])
    store.remove_all(["files/a*.bin", "files/c.bin", "files/never-written.bin"])
    assert store.list_names("files") == ["ab.bin"]


def test_a_missing_object_is_a_missing_file(store: ObjectStore, tmp_path: Path) -> None:
    for use in (
        lambda: store.find_size("none"),
        lambda: store.fetch("none", 1, tmp_path / "copy"),
        lambda: store.open("none", 10).read(),
    ):
        with pytest.raises(FileNotFoundError, match="none"):
            use()


def test_an_object_that_is_too_long_is_not_fetched(s3: str, tmp_path: Path) -> None:
    store = ObjectStore(s3)
    store.write("long", b"x" * 100)
    with pytest.raises(RegistryError, match="refused .*long: it has more bytes than the 99 expected"):
        store.fetch("long", 99, tmp_path / "copy")


def test_ranges_of_an_object_are_read_as_of_a_file(store: ObjectStore) -> None:
    content = bytes(range(100))
    store.write("ranges", content)
    opened, expected = store.open("ranges", 100), io.BytesIO(content)
    for offset, whence, num_bytes in [(10, 0, 5), (5, 1, 7), (-8, 2, 4), (0, 1, 100), (0, 2, 1), (0, 0, -1)]:
        assert opened.seek(offset, whence) == expected.seek(offset, whence)
        assert opened.read(num_bytes) == expected.read(num_bytes)
        assert opened.tell() == expected.tell()


def test_columns_of_a_parquet_object_are_read_without_the_others(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ObjectStore(s3)
    table = pa.table({"id": list(range(100)), "content": [os.urandom(10_000) for _ in range(100)]})
    pq.write_table(table, tmp_path / "file", row_group_size=50)
    num_bytes = (tmp_path / "file").stat().st_size
    store.send(tmp_path / "file", "file.parquet")
    read: list[int] = []
    cat = s3fs.S3FileSystem.cat_file

    def count(self: s3fs.S3FileSystem, path: str, start: int, end: int) -> bytes:
        read.append(end - start)
        return bytes(cat(self, path, start=start, end=end))

    monkeypatch.setattr(s3fs.S3FileSystem, "cat_file", count)
    assert pq.read_table(store.open("file.parquet", num_bytes), columns=["id"]) == table.select(["id"])
    # The footer, then the column of each row group.
    assert sum(read) < 100_000 < num_bytes
    assert len(read) <= 4


def test_a_store_that_does_not_answer(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{closed_port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    store = ObjectStore("s3://posters/genres")
    # An error of the network is none of a file: whoever reads Parquet must not take it for damage.
    for use in (lambda: store.read("one"), lambda: store.open("one", 10).read(), lambda: store.write("one", b"")):
        with pytest.raises(StoreError, match="s3://posters/genres/one can't be read or written: .*check the address"):
            use()
    s3fs.S3FileSystem.clear_instance_cache()


def test_addresses_that_are_refused() -> None:
    with pytest.raises(RegistryError, match="has a user name or a password: give them by the environment"):
        ObjectStore("s3://key:secret@bucket/path")
    with pytest.raises(RegistryError, match="nothing://x is not a supported store: .*; expected a folder, or an addr"):
        ObjectStore("nothing://x")
