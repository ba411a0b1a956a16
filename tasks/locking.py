"""One process at a time in a folder."""

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tasks.errors import LockedError


@contextmanager
def locked(
    folder: Path, what: str, wait_seconds: float = 0.0, about: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Any] | None]:
    """Holds the lock of a folder.

    The lock is the operating system's: it ends with the process that holds it, however that ends, so none is ever
    left behind. It keeps processes of one machine apart; over a network file system it does where that has `flock`.

    Args:
        folder: is made if it is not there. The lock is its file `.lock`; who holds it stands in `.lock.json`.
        what: the holder does, in words for whoever has to wait.
        wait_seconds: for another process to let go.
        about: what is to be known of the holder, should it be killed.

    Yields:
        What was to be known of the last holder, if that was killed; else None.

    Raises:
        LockedError: if another process does not let go; says which.
    """
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / ".lock.json"
    # The thread that lets go need not be the one that took hold.
    lock = FileLock(folder / ".lock", thread_local=False)
    try:
        lock.acquire(timeout=wait_seconds)
    except Timeout as error:
        raise LockedError(
            f"{folder} is in use by {_describe(_read(holder))}: wait until it is done and try again, or use another "
            "folder"
        ) from error
    try:
        left_behind = _read(holder)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        place = {"pid": os.getpid(), "host": socket.gethostname(), "since": now}
        holder.write_text(json.dumps({"what": what, **place, "about": dict(about or {})}), "utf-8")
        yield left_behind.get("about") if left_behind else None
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _describe(holder: Mapping[str, Any] | None) -> str:
    if holder is None:
        return "another process"
    return f"{holder['what']} (process {holder['pid']} on {holder['host']}, since {holder['since']})"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError):
        # There is none; or its writer was killed in the act, or has not got round to it.
        return None
