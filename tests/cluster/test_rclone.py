"""A second S3-compatible server, for plain reading and writing: `rclone serve s3`, which ignores conditions."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs
from served import find_free_port, wait

from tasks.storage.folders import StoredFolder
from tasks.storage.objects import ObjectStore

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a bucket."""
    path = shutil.which("rclone")
    assert path, "expected rclone on the PATH: make cluster"
    folder = tmp_path_factory.mktemp("buckets")
    (folder / "posters").mkdir()
    port = find_free_port()
    command = [path, "serve", "s3", str(folder), "--addr", f"127.0.0.1:{port}", "--auth-key", "key,secret"]
    with (
        (folder.parent / "rclone.log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as process,
        pytest.MonkeyPatch.context() as patched,
    ):
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patched.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()

        def answers() -> bool:
            files = s3fs.S3FileSystem(use_listings_cache=False)
            return process.poll() is None and bool(files.exists("posters"))

        wait(answers, 30)
        yield "s3://posters/genres"
        process.kill()
    s3fs.S3FileSystem.clear_instance_cache()


def test_objects_are_written_read_in_ranges_listed_and_removed(rclone: str, tmp_path: Path) -> None:
    store = ObjectStore(rclone)
    content = os.urandom(20_000_000)
    (tmp_path / "large").write_bytes(content)
    store.send(tmp_path / "large", "files/large.bin")
    store.write("files/small.bin", b"small")
    assert store.list_names("files") == ["large.bin", "small.bin"]
    opened = store.open("files/large.bin", len(content))
    opened.seek(7_000_000)
    assert opened.read(1000) == content[7_000_000:7_001_000]
    store.fetch("files/large.bin", len(content), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    assert {name for name, _ in store.list_times("files")} == {"large.bin", "small.bin"}
    store.remove("files/large.bin")
    assert store.list_names("files") == ["small.bin"]
    assert store.read("files/large.bin") is None


def test_a_folder_gets_to_another_machine_and_the_missing_conditions_are_told(
    rclone: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = (StoredFolder(rclone, tmp_path / name / "shards") for name in ("one", "other"))
    one.pull()
    one.folder.mkdir(parents=True)
    (one.folder / "a.bin").write_bytes(b"a")
    assert one.commit({"a.bin": None})
    assert "the store has no conditional writes" in caplog.text
    other.pull()
    assert (other.folder / "a.bin").read_bytes() == b"a"
