"""Against a folder, a real S3-compatible server, one that ignores conditions, and a filesystem without any."""

import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import boto3
import fsspec
import pytest
import s3fs
from moto.s3.exceptions import S3ClientError
from moto.s3.responses import S3Response
from werkzeug.datastructures import Headers

from tasks.errors import ConflictError, StoreError
from tasks.storage.pointer import LocalPointer, Pointer, S3Pointer, UnconditionalPointer, open_pointer


def open_at(address: str) -> Pointer:
    filesystem, path = fsspec.core.url_to_fs(address)
    return open_pointer(filesystem, path, address)


@pytest.fixture(params=["folder", "s3", "memory"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a pointer that does not exist yet."""
    if request.param == "folder":
        return str(tmp_path / "new" / "pointer.json")
    if request.param == "s3":
        return f"{request.getfixturevalue('s3')}/pointer.json"
    return f"memory://{tmp_path}/pointer.json"


def test_a_pointer_is_created_read_and_replaced(address: str) -> None:
    pointer = open_at(address)
    assert pointer.read() is None
    pointer.write(b"first", None)
    first = pointer.read()
    assert first is not None
    assert first.content == b"first"
    pointer.write(b"second", first)
    second = open_at(address).read()
    assert second is not None
    assert second.content == b"second"
    assert second.token != first.token


def test_what_another_process_wrote_meanwhile_stays(address: str) -> None:
    mine, other = open_at(address), open_at(address)
    other.write(b"other", None)
    with pytest.raises(ConflictError, match="was changed by another process meanwhile, and nothing was written"):
        mine.write(b"mine", None)
    before = mine.read()
    other.write(b"newer", other.read())
    with pytest.raises(ConflictError, match=r"pointer\.json was changed"):
        mine.write(b"mine", before)
    present = mine.read()
    assert present is not None
    assert present.content == b"newer"
    mine.write(b"mine", present)


def test_a_write_that_is_repeated_after_a_lost_answer_succeeds(address: str) -> None:
    pointer = open_at(address)
    pointer.write(b"first", None)
    pointer.write(b"first", None)
    first = pointer.read()
    pointer.write(b"second", first)
    pointer.write(b"second", first)


def test_an_object_that_was_removed_meanwhile_is_a_change(s3: str) -> None:
    pointer = open_at(f"{s3}/pointer.json")
    pointer.write(b"first", None)
    first = pointer.read()
    boto3.client("s3").delete_object(Bucket="posters", Key="genres/pointer.json")
    with pytest.raises(ConflictError):
        pointer.write(b"second", first)


COUNTING = """
import os, pathlib, sys
from tasks.errors import ConflictError
from tasks.storage.pointer import LocalPointer
pointer, num_changes = LocalPointer(pathlib.Path(sys.argv[1])), 0
while num_changes < 20:
    version = pointer.read()
    number = int(version.content.split()[0]) if version else 0
    try:
        pointer.write(f"{number + 1} of {os.getpid()}".encode(), version)
        num_changes += 1
    except ConflictError:
        pass
"""


def test_no_change_of_processes_at_once_is_lost(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COUNTING, str(tmp_path / "pointer")]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    version = LocalPointer(tmp_path / "pointer").read()
    assert version is not None
    assert version.content.split()[0] == b"60"


def test_a_store_is_asked_once_whether_it_has_conditions(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []
    call = s3fs.S3FileSystem.call_s3
    monkeypatch.setattr(
        s3fs.S3FileSystem,
        "call_s3",
        lambda self, method, **kwargs: [calls.append((method, kwargs)), call(self, method, **kwargs)][1],
    )
    pointer = open_at(f"{s3}/pointer.json")
    assert isinstance(pointer, S3Pointer)
    pointer.write(b"first", None)
    pointer.write(b"second", pointer.read())
    assert [(kwargs["Key"], kwargs.get("IfNoneMatch"), "IfMatch" in kwargs) for _, kwargs in calls] == [
        ("genres/pointer.json.probe", None, True),
        ("genres/pointer.json", "*", False),
        ("genres/pointer.json", None, True),
    ]
    found = boto3.client("s3").list_objects_v2(Bucket="posters")["Contents"]
    assert [entry["Key"] for entry in found] == ["genres/pointer.json"]


def test_a_server_that_ignores_conditions_is_noticed(
    s3: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put = S3Response.put_object

    def ignore(self: S3Response) -> Any:
        self.headers = Headers([pair for pair in self.headers if pair[0] not in ("If-Match", "If-None-Match")])
        return put(self)

    monkeypatch.setattr(S3Response, "put_object", ignore)
    caplog.set_level(logging.WARNING)
    pointer = open_at(f"{s3}/pointer.json")
    pointer.write(b"first", None)
    assert [record.message for record in caplog.records] == [
        f"{s3}/pointer.json: the store has no conditional writes; of two machines that change it at the same moment, "
        "the later one overwrites the other"
    ]
    with pytest.raises(ConflictError):  # as far as reading again shows it
        pointer.write(b"second", None)
    found = boto3.client("s3").list_objects_v2(Bucket="posters")["Contents"]
    assert [entry["Key"] for entry in found] == ["genres/pointer.json"]


def test_a_server_that_refuses_conditions_is_written_to_without(
    s3: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put = S3Response.put_object

    def refuse(self: S3Response) -> Any:
        if {"If-Match", "If-None-Match"} & set(self.headers.keys()):
            error = S3ClientError("NotImplemented", "a header implies functionality that is not implemented")
            error.code = 501
            raise error
        return put(self)

    monkeypatch.setattr(S3Response, "put_object", refuse)
    caplog.set_level(logging.WARNING)
    pointer = open_at(f"{s3}/pointer.json")
    pointer.write(b"first", None)
    first = pointer.read()
    pointer.write(b"second", first)
    second = pointer.read()
    assert second is not None
    assert second.content == b"second"
    assert [record.message.partition(":")[0] for record in caplog.records] == ["s3"]
    with pytest.raises(ConflictError):
        pointer.write(b"third", first)


def test_errors_of_the_store_name_the_pointer(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match=r"s3://nobucket/pointer\.json can't be read or written") as raised:
        open_at("s3://nobucket/pointer.json").write(b"x", None)
    assert not isinstance(raised.value, ConflictError)

    def fail(*_: object, **__: object) -> None:
        raise ConnectionResetError("reset by peer")

    unreachable = open_at(f"{s3}/pointer.json")
    monkeypatch.setattr(unreachable._filesystem, "call_s3", fail)
    with pytest.raises(StoreError, match=r"pointer\.json can't be read or written: reset by peer"):
        unreachable.write(b"x", None)
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="folder can't be read or written: .*[Dd]irectory"):
        open_at(str(tmp_path / "folder")).read()


def test_a_change_waits_for_one_that_holds_the_folder(tmp_path: Path, hold_lock) -> None:
    pointer = LocalPointer(tmp_path / "pointer")
    with hold_lock(tmp_path, "a publication") as process:
        writer = threading.Thread(target=pointer.write, args=(b"x", None))
        writer.start()
        writer.join(0.3)
        assert pointer.read() is None
        process.stdin.write("\n")
        process.stdin.flush()
        writer.join(30)
    version = pointer.read()
    assert version is not None
    assert version.content == b"x"


def test_each_store_has_its_kind_of_pointer(tmp_path: Path, s3: str) -> None:
    assert type(open_at(str(tmp_path / "p"))) is LocalPointer
    assert type(open_at(f"{s3}/p")) is S3Pointer
    assert type(open_at("memory://p")) is UnconditionalPointer
