"""Files and folders that appear whole under their final name, or not at all."""

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
        path: Final path. An existing folder is moved aside first and removed after the new one is in place.

    Yields:
        The folder to fill. After an error it is removed, and an existing folder is kept.
    """
    path = path.resolve()  # "." has no name
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, previous = _beside(path), _beside(path)
    with _naming(path, partial):
        partial.mkdir()
    try:
        with _naming(path, partial):
            yield partial
            for file in partial.rglob("*"):
                _flush_to_disk(file)
        if path.exists():
            path.rename(previous)
        try:
            partial.rename(path)
        except BaseException:  # an interrupt, too
            if previous.exists():
                previous.rename(path)
            raise
        _flush_to_disk(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(previous, ignore_errors=True)


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
