"""One run at a time in a store, over all machines: a small object that the run that holds it renews."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tasks.errors import ConflictError, LockedError, StoreError
from tasks.locking import describe_holder, make_holder
from tasks.storage.objects import ObjectStore
from tasks.storage.pointer import Pointer, Version

logger = logging.getLogger(__name__)

LEASE = "run.json"
_SECONDS_BETWEEN_SIGNS = 15.0
# So long without a sign of life, by the clock of who waits, and the holder counts as killed.
_SECONDS_TO_LIVE = 60.0


@contextmanager
def leased(
    store: ObjectStore,
    what: str,
    wait_seconds: float = 0.0,
    seconds_between_signs: float = _SECONDS_BETWEEN_SIGNS,
    seconds_to_live: float = _SECONDS_TO_LIVE,
) -> Iterator["Lease"]:
    """Holds the lease of a store during the block.

    Clocks are not compared: a holder renews the lease at intervals, and one that was killed stops to. A lease that is
    taken over nevertheless, since its holder was without network for a minute, costs no data: what the runs commit,
    they commit only if nobody else did.

    Args:
        store: The store.
        what: Description of the holder, for the message to others.
        wait_seconds: Time limit for another run to end.
        seconds_between_signs: Interval at which the lease is renewed.
        seconds_to_live: Time without a renewal after which the holder counts as killed.

    Yields:
        The lease.

    Raises:
        LockedError: Another run holds the lease; the message names it.
        StoreError: The store can't be read or written.
    """
    lease = Lease(store, what, seconds_between_signs)
    lease.acquire(wait_seconds, seconds_to_live)
    try:
        yield lease
    finally:
        lease.release()


class Lease:
    """The lease of a store.

    Args:
        store: The store.
        what: Description of the holder.
        seconds_between_signs: Interval at which the lease is renewed.
    """

    def __init__(self, store: ObjectStore, what: str, seconds_between_signs: float) -> None:
        self._pointer: Pointer = store.pointer(LEASE)
        self._where = store.address
        self._seconds_between_signs = seconds_between_signs
        self._holder = make_holder(what)
        self._num_signs = 0
        self._is_lost = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._renew_repeatedly, name="lease", daemon=True)

    def acquire(self, wait_seconds: float, seconds_to_live: float) -> None:
        """Takes the lease, once nobody holds it, and renews it from then on; see `leased`."""
        start = seen_at = time.monotonic()
        seen: Version | None = None
        while True:
            version = self._pointer.read()
            holder = _parse(version)
            if version != seen:
                is_alive = seen is not None
                if holder and not is_alive:
                    logger.info("storage: %s holds %s: waiting for a sign of life", _describe(holder), self._where)
                seen, seen_at = version, time.monotonic()
                if holder and is_alive and time.monotonic() > start + wait_seconds:
                    raise LockedError(
                        f"{self._where} is in use by {_describe(holder)}: wait until it is done and try again, or use "
                        "another store"
                    )
            if (holder is None or time.monotonic() > seen_at + seconds_to_live) and self._take(version):
                if holder:
                    logger.warning("storage: %s showed no sign of life: taken over", _describe(holder))
                break
            time.sleep(min(1.0, self._seconds_between_signs / 3))
        self._thread.start()

    def check(self) -> None:
        """Looks whether another run has taken the lease over meanwhile.

        Raises:
            LockedError: It has: this one showed no sign of life, maybe since its machine slept.
            StoreError: The store can't be read.
        """
        if self._is_lost or not self._is_own(self._pointer.read()):
            raise LockedError(
                f"{self._where} was taken over by another run, since this one could not renew its lease for a minute: "
                "run it again when the other one is done"
            )

    def release(self) -> None:
        """Gives the lease back."""
        self._end.set()
        self._thread.join()
        try:
            version = self._pointer.read()
            if self._is_own(version):
                self._write({"what": None}, version)
        except StoreError as error:  # another run's by now, or the store is gone: it ends by itself
            logger.warning("storage: the lease was not given back: %s", error)

    def _take(self, version: Version | None) -> bool:
        try:
            self._renew(version)
        except ConflictError:
            return False
        return True

    def _renew(self, version: Version | None) -> None:
        self._num_signs += 1
        self._write({**self._holder, "signs": self._num_signs}, version)

    def _write(self, content: dict[str, Any], version: Version | None) -> None:
        self._pointer.write(json.dumps(content).encode(), version)

    def _is_own(self, version: Version | None) -> bool:
        holder = _parse(version)
        return holder is not None and all(holder.get(name) == value for name, value in self._holder.items())

    def _renew_repeatedly(self) -> None:
        while not self._end.wait(self._seconds_between_signs):
            try:
                version = self._pointer.read()
                if not self._is_own(version):
                    self._is_lost = True
                    return
                self._renew(version)
            except ConflictError:
                self._is_lost = True
                return
            except StoreError as error:
                logger.warning("storage: the lease could not be renewed: %s", error)


def _parse(version: Version | None) -> dict[str, Any] | None:
    """Returns the holder; None if there is none."""
    if version is None:
        return None
    try:
        holder: dict[str, Any] = json.loads(version.content)
        return holder if holder["what"] else None
    except (ValueError, KeyError, TypeError):
        return {"what": "a process that left no name"}


def _describe(holder: dict[str, Any]) -> str:
    try:
        return describe_holder(holder)
    except KeyError:  # of a process that left no name
        return str(holder["what"])
