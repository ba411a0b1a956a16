"""Disks that are full, folders that can't be written, files that can't be opened: one line with path and advice."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEGABYTE = 1_000_000


def write(
    folder: Path, *, text: str = "x", limit: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command that writes a megabyte to `out/file` in a folder, by pyarrow and by Python."""
    script = f"""
import pathlib, pyarrow as pa, pyarrow.parquet as pq
from flows import cli
from tasks.atomic import atomic_file, atomic_folder

@cli.app.command()
def write(how: str) -> None:
    path = pathlib.Path("out/file")
    if how == "python":
        with atomic_file(path) as partial:
            partial.write_bytes(b"x" * {MEGABYTE})
    elif how == "arrow":
        with atomic_file(path) as partial:
            pq.write_table(pa.table({{"x": range({MEGABYTE})}}), partial, compression="none")
    elif how == "folder":
        with atomic_folder(path) as partial:
            (partial / "inner").write_bytes(b"x" * {MEGABYTE})
    else:
        files = [open("/dev/null") for _ in range(1000)]

cli.main(["write", {text!r}])
"""
    command = [sys.executable, "-c", script]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=env, preexec_fn=limit, capture_output=True, text=True, timeout=120, check=False
    )


def check(done: subprocess.CompletedProcess[str], *says: str) -> None:
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("poster-genres: ")
    assert done.stderr.count("\n") == 1
    for part in says:
        assert part in done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("how", ["python", "arrow", "folder"])
def test_full_disk(small_disk: Path, how: str) -> None:
    done = write(small_disk, text=how)
    check(done, "out/file", "no space left on device", "free some space and run it again")
    assert list((small_disk / "out").iterdir()) == []


@pytest.mark.parametrize("how", ["python", "arrow", "folder"])
def test_limited_file_size(tmp_path: Path, how: str) -> None:
    done = write(tmp_path, text=how, limit=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)))
    check(done, "out/file", "file too large", "ulimit -f")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("how", ["python", "folder"])
def test_file_in_place_of_a_folder(tmp_path: Path, how: str) -> None:
    (tmp_path / "out").touch()
    check(write(tmp_path, text=how), "out", "choose another")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    check(write(tmp_path, text="python"), "out/file", "permission denied", "run it as a user who may")


def test_too_many_open_files(tmp_path: Path) -> None:
    done = write(tmp_path, text="open", limit=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)))
    check(done, "too many open files", "ulimit -n")
