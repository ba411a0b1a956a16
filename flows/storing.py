"""The folders of `data_dir` that are kept in a store, for runs on any machine."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from tasks.dataset.description import list_stored_files as list_shards
from tasks.errors import SettingsError
from tasks.posters.segments import copy_ledger
from tasks.posters.segments import list_stored_files as list_posters
from tasks.settings import Settings
from tasks.storage.folders import StoredFile, StoredFolder, read_copy
from tasks.storage.lease import Lease, leased
from tasks.storage.objects import ObjectStore

logger = logging.getLogger(__name__)

StoredName = Literal["catalog", "posters", "splits", "shards", "features"]

# Beside the features, their folders have what joins them with the films of this machine's runs.
FEATURES_PATTERN = "**/*.parquet"
_PATTERNS: dict[StoredName, str] = {
    "catalog": "**/*",
    "posters": "**/*",
    "splits": "**/*",
    "shards": "**/*",
    "features": FEATURES_PATTERN,
}


@dataclass(frozen=True)
class StoredData:
    """The folders of a `data_dir` that are kept in a store; without a store, nothing is done.

    Attributes:
        settings: Settings of the run.
        lease: The lease of the store; None: there is no store.
    """

    settings: Settings
    lease: Lease | None = None

    @cached_property
    def _folders(self) -> dict[StoredName, StoredFolder]:
        workspace, address = self.settings.workspace, self.settings.data_store
        if address is None:
            return {}
        return {name: StoredFolder(address, workspace.folder(name), pattern) for name, pattern in _PATTERNS.items()}

    def pull(self) -> None:
        """Brings this machine's copies up to date; posters, shards and features are read from the store when needed."""
        for name, folder in self._folders.items():
            if name == "posters":
                folder.pull(lambda file: file.endswith(".json"))
                copy_ledger(folder.folder)
            elif name == "shards":
                folder.pull(lambda file: not file.endswith(".tfrecord"))
            elif name == "features":
                folder.pull(lambda _: False)
            else:
                folder.pull()

    def commit(self, *names: StoredName) -> None:
        """Makes what the stages wrote to some folders the content of the store.

        Raises:
            ConflictError: Another run committed meanwhile.
            LockedError: Another run has taken the store over.
            StoreError: The store can't be written.
        """
        for name in names:
            if self.lease is None:
                return
            self.lease.check()
            folder = self._folders[name]
            if folder.commit(self._list_files(name)):
                logger.info("storage: %s committed to %s", name, folder.store.address)

    def remove_garbage(self, keep_days: float) -> int:
        """Removes the objects that belong to no folder any more, and returns their number."""
        return sum(len(folder.remove_garbage(keep_days)) for folder in self._folders.values())

    def _list_files(self, name: StoredName) -> Mapping[str, StoredFile | None]:
        folder = self._folders[name]
        if name == "posters":
            return list_posters(folder.folder)
        if name == "shards":
            return list_shards(folder.folder)
        return dict.fromkeys(folder.list_all_files() if name == "features" else folder.list_files())


@contextmanager
def stored_data(settings: Settings) -> Iterator[StoredData]:
    """Holds the lease of the store of a run, and brings this machine's copies up to date.

    Yields:
        The stored folders.

    Raises:
        LockedError: Another run works with the store.
        SettingsError: `data_dir` is no copy of the store, or a copy of one though the setting is null.
        StoreError: The store can't be read or written.
    """
    if settings.data_store is None:
        _check_no_copy(settings)
        yield StoredData(settings)
        return
    with leased(ObjectStore(settings.data_store), "another run", settings.wait_seconds) as lease:
        stored = StoredData(settings, lease)
        stored.pull()
        yield stored


def _check_no_copy(settings: Settings) -> None:
    """Refuses a copy of a store without that: workers would write there without the lease, and nothing be committed."""
    for name in _PATTERNS:
        if copy := read_copy(settings.workspace.folder(name)):
            raise SettingsError(
                f"{settings.data_dir} is a copy of {copy.address}: expected its setting store (the address without "
                "/data), or another data_dir"
            )
