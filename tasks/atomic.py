"""Files and folders that appear whole under their final name, or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
def atomic_file(path: Path) -> Iterator[Path]:
    """Gives a path beside `path` to write to; renames it to `path` when the block ends without an error.

    Args:
        path: the final name. Its folder is made if it is not there; a file already there is replaced.

    Yields:
        The path to write to. After an error it is removed, and what was at `path` is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(path)
    try:
        yield partial
        _flush_to_disk(partial)
        partial.replace(path)
        _flush_to_disk(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Gives an empty folder beside `path` to fill; renames it to `path` when the block ends without an error.

    Args:
        path: the final name. A folder already there is moved aside first and removed once the new one is in place.

    Yields:
        The folder to fill. After an error it is removed, and what was at `path` is untouched.
    """
    path = path.resolve()  # "." has no name
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, previous = _beside(path), _beside(path)
    partial.mkdir()
    try:
        yield partial
        for file in partial.rglob("*"):
            _flush_to_disk(file)
        if path.exists():
            path.rename(previous)
        try:
            partial.rename(path)
        except OSError:
            if previous.exists():
                previous.rename(path)
            raise
        _flush_to_disk(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(previous, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Removes a folder, which is gone from `path` at once: killed half way, nothing is left that looks whole."""
    removed = _beside(path)
    path.rename(removed)
    shutil.rmtree(removed)


def write_text(path: Path, text: str, encoding: str = "utf-8") -> None:
    """Writes `text` to `path`, whole or not at all."""
    with atomic_file(path) as partial:
        partial.write_text(text, encoding=encoding)


def remove_partials(folder: Path, name: str = "*") -> None:
    """Removes what a killed process left half-written in `folder`. Call it only while nobody else writes there.

    Args:
        folder: need not be there.
        name: of the file or folder that was to be written; all, if it is not given.
    """
    for partial in folder.glob(f".{name}.*.partial"):
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink()
