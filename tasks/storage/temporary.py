"""Temporary folders of workers, of which those of killed processes are found and removed."""

import logging
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tasks.errors import describe_os_error

logger = logging.getLogger(__name__)

_PREFIX = "poster-genres-staged-"
_LOCK = ".lock"
# A younger one may be about to be locked.
_MIN_AGE_SECONDS = 60.0


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yields an empty folder, which is locked by this process, and removes it afterwards."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder, FileLock(Path(folder, _LOCK), thread_local=False):
        yield Path(folder)


def remove_leftovers() -> None:
    """Removes the folders of `temporary_folder` on this machine whose processes were killed.

    A killed process holds no lock; neither its id, which another one may have by now, nor the folder's age tells that.
    What can't be removed is a warning.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            if time.time() < folder.stat().st_mtime + _MIN_AGE_SECONDS:
                continue
            with FileLock(folder / _LOCK, timeout=0, thread_local=False):
                shutil.rmtree(folder)
        except (Timeout, FileNotFoundError, PermissionError):
            continue  # in use, removed by another worker, or another user's
        except OSError as error:
            logger.warning("a folder of a killed worker can't be removed: %s", describe_os_error(error))
            continue
        logger.info("storage: %s, which a killed worker left, is removed", folder)
