import errno
import os
import shutil
import sys
import threading
from pathlib import Path

import pytest

from tasks import atomic
from tasks.atomic import atomic_file, atomic_folder, remove_folder, remove_partials, replace_folder, write_text


def test_file_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    with atomic_file(path) as partial:
        partial.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert [file.name for file in path.parent.iterdir()] == ["file.txt"]


def test_error_leaves_the_old_file_and_no_partial(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_file(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old").touch()
    with atomic_folder(folder) as partial:
        (partial / "deep").mkdir()
        (partial / "deep" / "new").touch()
        assert (folder / "old").exists()
    assert [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*"))] == ["deep", "deep/new"]
    assert list(tmp_path.iterdir()) == [folder]


def test_error_leaves_the_old_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old").touch()
    with pytest.raises(RuntimeError), atomic_folder(folder) as partial:
        (partial / "half").touch()
        raise RuntimeError
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [folder]


def test_remove_partials_takes_only_what_was_left_half_written(tmp_path: Path) -> None:
    (tmp_path / "part.parquet").touch()
    (tmp_path / ".part.parquet.1234abcd.partial").touch()
    (tmp_path / ".shards.1234abcd.partial").mkdir()
    remove_partials(tmp_path / "none")
    remove_partials(tmp_path, "shards")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".part.parquet.1234abcd.partial", "part.parquet"]
    remove_partials(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["part.parquet"]


def test_a_folder_half_removed_is_gone_and_seen_to_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file.txt").touch()

    def stop(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", stop)
        with pytest.raises(KeyboardInterrupt):
            remove_folder(folder)
    assert not folder.exists()
    remove_partials(tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_interrupt_between_the_two_renames_leaves_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old").touch()
    rename = Path.rename

    def interrupt(path: Path, target: Path) -> Path:
        if target == folder and not (path / "old").exists():
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupt)
    monkeypatch.setattr(atomic, "_exchange", lambda *_: False)  # as on a system that can't
    with pytest.raises(KeyboardInterrupt), atomic_folder(folder):
        pass
    assert [path.name for path in folder.iterdir()] == ["old"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges two folders")
def test_a_replaced_folder_is_there_at_every_moment(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for number in range(2):
        (tmp_path / f"source{number}").mkdir()
        (tmp_path / f"source{number}" / str(number)).touch()
    replace_folder(tmp_path / "source0", folder)
    seen: set[tuple[str, ...]] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                seen.add(tuple(os.listdir(folder)))  # noqa: PTH208  (Path.iterdir is not better here)
            except FileNotFoundError:
                seen.add(("no folder",))

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(200):
        number = (turn + 1) % 2
        source = tmp_path / "next"
        source.mkdir()
        (source / str(number)).touch()
        replace_folder(source, folder)
    done.set()
    reader.join()
    # Empty: the old folder, which was opened before the exchange, and whose files were removed before they were listed.
    assert {("0",), ("1",)} <= seen <= {("0",), ("1",), ()}
    assert not (tmp_path / "next").exists()


def test_without_an_exchange_the_folder_is_replaced_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    for name in ("old", "new"):
        with atomic_folder(tmp_path / "folder") as partial:
            (partial / name).touch()
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_errors_of_the_disk_name_the_final_path(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as nameless, atomic_file(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(FileNotFoundError) as named, atomic_folder(tmp_path / "b") as partial:
        (partial / "none" / "c").touch()
    assert nameless.value.filename == str(tmp_path / "a")
    assert named.value.filename == str(tmp_path / "b" / "none" / "c")
