"""A model of a store: its manifest, checked, and its files, fetched one by one."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.atomic import remove_folder
from tasks.errors import LockedError, RegistryError, StoreError
from tasks.hashing import find_damage, hash_file
from tasks.locking import locked
from tasks.model_folder import MANIFEST, parse_manifest
from tasks.registry.ids import check_model_id
from tasks.registry.models import CHAMPION, CHAMPION_FILE
from tasks.registry.signature import is_signature, read_public_key
from tasks.registry.stores import SIGNATURE, Store

_WORKING = ".pull"


@dataclass(frozen=True)
class StoredModel:
    """A model of a store.

    Attributes:
        store: The store.
        id: Id of the model.
        content: Bytes of its manifest.
        manifest: The same, parsed.
    """

    store: Store
    id: str
    content: bytes
    manifest: dict[str, Any]

    def check_sizes(self, names: Iterable[str]) -> None:
        """Compares the sizes of files with the manifest, before a byte of them is fetched.

        Raises:
            RegistryError: if a file is missing or of another size.
            StoreError: if the store can't be read.
        """
        for name in names:
            size, expected = self.store.find_size(self.id, name), self.manifest["files"][name]["num_bytes"]
            if size is not None and size != expected:
                raise RegistryError(f"refused {self._describe(name)}: it has {size:,} bytes, expected {expected:,}")

    def fetch(self, names: Iterable[str], folder: Path) -> int:
        """Copies files into a folder, each verified; a file that is there already is kept.

        Returns:
            The number of files that were fetched.

        Raises:
            RegistryError: if a file is missing, truncated or altered.
            StoreError: if the store can't be read; what was fetched stays.
        """
        num_fetched = 0
        for name in names:
            expected, target = self.manifest["files"][name], folder / name
            if not find_damage(target, expected):
                continue
            self.store.fetch(self.id, name, expected["num_bytes"], target)
            num_bytes = target.stat().st_size
            if num_bytes != expected["num_bytes"]:
                raise RegistryError(
                    f"refused {self._describe(name)}: {num_bytes:,} bytes came, expected {expected['num_bytes']:,}"
                )
            if hash_file(target) != expected["sha256"]:
                raise RegistryError(
                    f"refused {self._describe(name)}: it differs from its manifest (other sha256); push the model again"
                )
            num_fetched += 1
        return num_fetched

    def _describe(self, name: str) -> str:
        return f"{self.store.describe(self.id)}/{name}"


def find_stored_model(name: str, store: Store, key_path: Path | None = None) -> StoredModel:
    """Reads and checks the manifest of a model.

    Args:
        name: Id of the model, or `champion`.
        store: The store.
        key_path: Ed25519 public key in PEM that the manifest must be signed with; None: signatures are not looked at.

    Raises:
        RegistryError: if there is no such model, its manifest is of another one, or it is not signed with the key.
        StoreError: if the store can't be read.
    """
    key = read_public_key(key_path) if key_path else None
    if name == CHAMPION:
        champion = store.read_champion()
        if champion is None:
            raise RegistryError(
                f"there is no {CHAMPION_FILE} in {store.address}: expected a store with models/ beside it"
            )
        name = champion["id"]
    where = store.describe(check_model_id(name))
    content = store.read_manifest(name)
    if content is None:
        raise RegistryError(f"there is no model {name!r} in {store.address}: expected {where}/{MANIFEST}")
    if key:
        signature = store.read_signature(name)
        if signature is None:
            raise RegistryError(f"refused {where}: it has no signature, {SIGNATURE} (push --sign-with writes one)")
        if not is_signature(signature, content, key):
            raise RegistryError(
                f"refused {where}: its signature is not that of {key_path}. The model was altered, or signed by "
                "another: expected one that the owner of the key pushed with --sign-with"
            )
    manifest = parse_manifest(content, f"{where}/{MANIFEST}")
    if manifest["id"] != name:
        raise RegistryError(f"refused {where}: its manifest is of model {manifest['id']!r}, expected {name!r}")
    return StoredModel(store, name, content, manifest)


@contextmanager
def resumable_folder(path: Path) -> Iterator[Path]:
    """Yields a folder to fetch into; what is in it stays after a kill or an error of the network, and is found again.

    Args:
        path: Working folder, removed when the block ends well, or with a refusal.

    Raises:
        LockedError: if another process fetches into it.
    """
    with locked(path, "another pull"):
        folder = path / "model"
        folder.mkdir(exist_ok=True)
        try:
            yield folder
        except StoreError as error:
            raise StoreError(f"{error}. Run it again: what was fetched is kept in {path}") from error
        except RegistryError:
            remove_folder(path)
            raise
        remove_folder(path)  # with the lock, which no other process can get any more


def working_folder(to: Path) -> Path:
    """Returns the working folder of pulls into a folder."""
    return to.with_name(f".{to.name}{_WORKING}")


def remove_abandoned(folder: Path) -> None:
    """Removes the working folders that interrupted pulls into the folders of `folder` have left."""
    for path in folder.glob(f".*{_WORKING}"):
        with suppress(LockedError), locked(path, "a clearance"):
            remove_folder(path)


def keep_only(names: Iterable[str], folder: Path) -> None:
    """Removes what an earlier pull of another model left in a working folder."""
    kept = {folder / name for name in names}
    for path in sorted(folder.rglob("*"), reverse=True):  # a folder comes after its files
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in kept:
            path.unlink()
