"""Pulling: a folder becomes a model of a store, or is brought up to date with it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.atomic import remove_partials, replace_folder
from tasks.errors import RegistryError
from tasks.model_folder import MANIFEST, ModelFolder
from tasks.registry.stored_model import StoredModel, find_stored_model, keep_only, resumable_folder, working_folder
from tasks.registry.stores import Store


@dataclass(frozen=True)
class Pulled:
    """Result of a pull.

    Attributes:
        id: Id of the model.
        manifest: Its manifest.
        is_new: Whether it was pulled; otherwise it was there already.
        num_fetched: Number of files that were fetched; fewer than it has if an earlier pull was interrupted.
    """

    id: str
    manifest: dict[str, Any]
    is_new: bool
    num_fetched: int


def pull_model(name: str, address: str, to: Path, key_path: Path | None = None) -> Pulled:
    """Copies a model out of a store, every hash verified, unless it is there already.

    The folder gets the model in one step, see `replace_folder`: whoever lists or opens it finds the old model or the
    new one, whole. A program that opens one file after the other by their paths, while the folder is replaced, can get
    some of each: it can compare the manifest before and after, or use `pull_version`, which changes no file.

    Args:
        name: Id of the model, or `champion`.
        address: Address of the store.
        to: Folder of the model: new, empty, or with a model, which is replaced.
        key_path: Ed25519 public key in PEM that the manifest must be signed with; None: signatures are not looked at.

    Raises:
        RegistryError: if the store has no such model, a file of it is missing, truncated or altered, it is not signed
            with the key, or `to` has something else than a model.
        StoreError: if the store can't be read. What was fetched is kept beside `to`, for the next pull.
        LockedError: if another process pulls into this folder.
    """
    to = to.resolve()
    _check_target(to)
    stored = find_stored_model(name, Store(address), key_path)
    if _is_current(ModelFolder(to), stored):
        return Pulled(stored.id, stored.manifest, is_new=False, num_fetched=0)
    names = list(stored.manifest["files"])
    stored.check_sizes(names)
    remove_partials(to.parent, to.name)  # of an earlier version, whose pull was killed
    with resumable_folder(working_folder(to)) as folder:
        keep_only(names, folder)
        num_fetched = stored.fetch(names, folder)
        ModelFolder(folder).manifest_path.write_bytes(stored.content)
        replace_folder(folder, to)
    return Pulled(stored.id, stored.manifest, is_new=True, num_fetched=num_fetched)


def _check_target(to: Path) -> None:
    """Refuses a folder that has something else than a model: it would be removed."""
    if not to.exists() or (to.is_dir() and not any(to.iterdir())):
        return
    expected = "expected a folder that is new, empty, or a model's"
    model = ModelFolder(to)
    if not model.is_published:
        raise RegistryError(f"{to} exists already, and is no model: {expected}")
    files = {MANIFEST, *model.read_manifest()["files"]}
    others = sorted(
        name for path in to.rglob("*") if not path.is_dir() and (name := path.relative_to(to).as_posix()) not in files
    )
    if others:
        raise RegistryError(f"{to} has {others[0]}, which is no file of the model there: {expected}")


def _is_current(model: ModelFolder, stored: StoredModel) -> bool:
    if not model.is_published or model.manifest_path.read_bytes() != stored.content:
        return False
    try:
        model.verify()
    except RegistryError:
        return False
    return True
