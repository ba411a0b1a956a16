"""A folder of TensorFlow Serving: one SavedModel for each version, in folders with rising numbers.

TensorFlow Serving takes the folders whose names are numbers, and never looks again at one that it has loaded. So a
version is never changed: another model is another version. The manifest of a version's model is in its `assets.extra`,
the folder of a SavedModel for files that are no part of the graph; it appears and goes together with the version.
"""

from dataclasses import dataclass
from pathlib import Path

from tasks.atomic import remove_folder, remove_partials, replace_folder
from tasks.errors import RegistryError
from tasks.hashing import find_damage
from tasks.model_folder import MANIFEST, parse_manifest
from tasks.registry.stored_model import StoredModel, find_stored_model, keep_only, resumable_folder
from tasks.registry.stores import Store

_SAVED_MODEL = "saved_model"
_MANIFEST_NAME = f"assets.extra/{MANIFEST}"


@dataclass(frozen=True)
class PulledVersion:
    """Result of a pull into a folder of TensorFlow Serving.

    Attributes:
        id: Id of the model.
        version: Number of its version.
        is_new: Whether the version was added; otherwise it was the newest one already.
        removed: Numbers of the old versions that were removed.
    """

    id: str
    version: int
    is_new: bool
    removed: tuple[int, ...]


def pull_version(name: str, address: str, folder: Path, keep: int = 2, key_path: Path | None = None) -> PulledVersion:
    """Adds a model of a store as a new version, unless it is the newest version already.

    Args:
        name: Id of the model, or `champion`.
        address: Address of the store.
        folder: Folder with one folder for each version; created if it does not exist.
        keep: Number of versions to keep. Only versions that were pulled are removed.
        key_path: Ed25519 public key in PEM that the manifest must be signed with; None: signatures are not looked at.

    Raises:
        RegistryError: if the store has no such model, a file of it is missing, truncated or altered, it is not signed
            with the key, or it has no SavedModel.
        StoreError: if the store can't be read. What was fetched is kept for the next pull.
        LockedError: if another process pulls into this folder.
    """
    folder = folder.resolve()
    stored = find_stored_model(name, Store(address), key_path)
    names = [file for file in stored.manifest["files"] if file.startswith(f"{_SAVED_MODEL}/")]
    if not names or f"{_SAVED_MODEL}/{_MANIFEST_NAME}" in names:
        raise RegistryError(f"{stored.store.describe(stored.id)} has no SavedModel that can be served: choose another")
    with resumable_folder(folder / ".pull") as work:
        newest = max(_list_versions(folder), default=0)
        if _is_current(folder / str(newest), stored, names):
            return PulledVersion(stored.id, newest, is_new=False, removed=())
        stored.check_sizes(names)
        keep_only(names, work)
        stored.fetch(names, work)
        manifest_path = work / _SAVED_MODEL / _MANIFEST_NAME
        manifest_path.parent.mkdir(exist_ok=True)
        manifest_path.write_bytes(stored.content)
        replace_folder(work / _SAVED_MODEL, folder / str(newest + 1))
        remove_partials(folder)  # of versions whose removal was interrupted
        removed = tuple(number for number in _list_versions(folder)[:-keep] if _is_pulled(folder / str(number)))
        for number in removed:
            remove_folder(folder / str(number))
    return PulledVersion(stored.id, newest + 1, is_new=True, removed=removed)


def _list_versions(folder: Path) -> list[int]:
    names = (path.name for path in folder.iterdir() if path.is_dir())
    return sorted(int(name) for name in names if name.isascii() and name.isdecimal() and str(int(name)) == name)


def _is_pulled(version: Path) -> bool:
    return (version / _MANIFEST_NAME).is_file()


def _is_current(version: Path, stored: StoredModel, names: list[str]) -> bool:
    """Returns whether a version is this model, and whole."""
    if not _is_pulled(version):
        return False
    path = version / _MANIFEST_NAME
    try:
        manifest = parse_manifest(path.read_bytes(), str(path))
    except RegistryError:
        return False
    if manifest["id"] != stored.id or manifest["files"] != stored.manifest["files"]:
        return False
    described = stored.manifest["files"]
    return not any(find_damage(version / name.removeprefix(f"{_SAVED_MODEL}/"), described[name]) for name in names)
