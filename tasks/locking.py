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

    The lock is the operating system's: it is released when the process that holds it ends, however that ends. It works
    between processes of one machine; over a network file system only if that supports `flock`.

    Args:
        folder: Folder to lock; created if it does not exist. The lock is its file `.lock`, the holder is described in
            `.lock.json`.
        what: Description of the holder, for the message to a waiting process.
        wait_seconds: Time limit for another process to release the lock.
        about: Data for the next holder, should this one be killed.

    Yields:
        `about` of the last holder if it was killed; otherwise None.

    Raises:
        LockedError: Another process holds the lock; the message names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / ".lock.json"
    # Another thread may release it than the one that acquired it.
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
        holder.write_text(json.dumps({**make_holder(what), "about": dict(about or {})}), "utf-8")
        yield left_behind.get("about") if left_behind else None
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def make_holder(what: str) -> dict[str, Any]:
    """Returns this process as the holder of a lock or a lease, JSON values, for `describe_holder`."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"what": what, "pid": os.getpid(), "host": socket.gethostname(), "since": now}


def describe_holder(holder: Mapping[str, Any]) -> str:
    """Returns in words what `make_holder` returned."""
    return f"{holder['what']} (process {holder['pid']} on {holder['host']}, since {holder['since']})"


def _describe(holder: Mapping[str, Any] | None) -> str:
    return "another process" if holder is None else describe_holder(holder)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError):
        # It does not exist, or its writer was killed while writing or has not written it yet.
        return None
