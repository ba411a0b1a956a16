"""Files and folders that appear whole under their final name, or not at all."""

import ctypes
import errno
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)


def _beside(path: Path) -> Path:
    # The same folder, because a rename is atomic only within one file system; the leading dot keeps globs off it.
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _naming(path: Path, partial: Path) -> Iterator[None]:
    """Makes errors of the disk name the final path: those of some libraries name none, others the partial one."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        elif isinstance(error.filename, str | Path):
            error.filename = str(error.filename).replace(str(partial), str(path))
        raise


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a path beside `path` to write to; renames it to `path` if the block ends without an error.

    Args:
        path: Final path. Its folder is created if it does not exist; an existing file is replaced.

    Yields:
        The path to write to. After an error it is removed, and an existing file is kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(path)
    try:
        with _naming(path, partial):
            yield partial
            _flush_to_disk(partial)
            partial.replace(path)
            _flush_to_disk(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder beside `path` to fill; renames it to `path` if the block ends without an error.

    Args:
        path: Final path. An existing folder is replaced as by `replace_folder`.

    Yields:
        The folder to fill. After an error it is removed, and an existing folder is kept.
    """
    path = path.resolve()  # "." has no name
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(path)
    with _naming(path, partial):
        partial.mkdir()
    try:
        with _naming(path, partial):
            yield partial
        replace_folder(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def replace_folder(source: Path, path: Path) -> None:
    """Gives a folder its final name, in one step: `path` is the old folder, or the new one whole.

    Where the system can't exchange two folders (Linux can, on most file systems), there is no `path` for a moment.

    Args:
        source: Folder to rename, on the same file system.
        path: Final path. An existing folder is removed after the new one is in place.
    """
    with _naming(path, source):
        for file in source.rglob("*"):
            _flush_to_disk(file)
    if not path.exists() or not _exchange(source, path):
        _rename_twice(source, path)
    _flush_to_disk(path.parent)
    shutil.rmtree(source, ignore_errors=True)  # the old folder, if the two were exchanged


def _rename_twice(source: Path, path: Path) -> None:
    previous = _beside(path)
    try:
        if path.exists():
            path.rename(previous)
        try:
            source.rename(path)
        except BaseException:  # an interrupt, too
            if previous.exists():
                previous.rename(path)
            raise
    finally:
        shutil.rmtree(previous, ignore_errors=True)


# Of Linux: fcntl.h, fs.h.
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges the names of two folders in one step; returns False if the system or the file system can't."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(other))


def remove_folder(path: Path) -> None:
    """Removes a folder; it is renamed first, so that a killed process leaves nothing that looks complete."""
    removed = _beside(path)
    path.rename(removed)
    shutil.rmtree(removed)


def write_text(path: Path, text: str, encoding: str = "utf-8") -> None:
    """Writes `text` to `path`, whole or not at all."""
    with atomic_file(path) as partial:
        partial.write_text(text, encoding=encoding)


def remove_partials(folder: Path, name: str = "*") -> None:
    """Removes half-written files and folders of a killed process. Call it only while no other process writes there.

    Args:
        folder: Folder, which need not exist.
        name: Name of the file or folder that was written; by default all.
    """
    for partial in folder.glob(f".{name}.*.partial"):
        try:
            if partial.is_dir():
                shutil.rmtree(partial)
            else:
                partial.unlink()
        except OSError as error:
            # Nothing takes it for complete: no reason to stop a run.
            logger.warning("%s was left by a killed process and can't be removed: %s", partial, error.strerror)
