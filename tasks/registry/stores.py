"""Stores of models: folders, and whatever addresses fsspec knows (S3, GCS, HTTP), laid out like `artifacts/`."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from tasks.atomic import atomic_file, atomic_folder, remove_partials
from tasks.errors import RegistryError, StoreError
from tasks.filesystems import list_filesystem_errors
from tasks.registry.manifest import MANIFEST, check_files, parse_manifest
from tasks.registry.models import (
    CHAMPION,
    CHAMPION_FILE,
    MODELS_FOLDER,
    check_model,
    find_model,
    models_dir,
    parse_champion,
)

logger = logging.getLogger(__name__)


class Store:
    """A store of models at an address.

    Args:
        address: a folder, or `s3://bucket/path`, `gs://bucket/path`, `https://host/path` and whatever else fsspec and
            what is installed beside it know. Credentials and endpoints come from the environment, as their own
            libraries read them (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL` and so on).

    Raises:
        RegistryError: if there is no such kind of store here.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        try:
            self._files, root = fsspec.core.url_to_fs(address)
        except (ValueError, ImportError) as error:
            raise RegistryError(f"{address} is no store that can be used here: {error}") from error
        self._root = root.rstrip("/")

    def read_champion(self) -> dict[str, Any] | None:
        """Returns what the store's `champion.json` says, None if there is none."""
        path = self._path(CHAMPION_FILE)
        content = self._read(path)
        return None if content is None else parse_champion(content, path)

    def read_manifest(self, model_id: str) -> bytes | None:
        """Returns the manifest of a model as it stands there, None if there is no such model."""
        return self._read(self._path(MODELS_FOLDER, model_id, MANIFEST))

    def fetch(self, model_id: str, manifest: Mapping[str, Any], folder: Path) -> None:
        """Copies the files of a model's manifest into `folder`.

        Raises:
            RegistryError: if one is not there.
            StoreError: if one can't be read.
        """
        for name in manifest["files"]:
            target, source = folder / name, self._path(MODELS_FOLDER, model_id, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._errors(source):
                try:
                    self._files.get_file(source, str(target))
                except FileNotFoundError as error:
                    raise RegistryError(
                        f"{self.describe(model_id)} lacks {name}, which its manifest names: the model is damaged"
                    ) from error

    def send(self, model_id: str, folder: Path, manifest: Mapping[str, Any]) -> None:
        """Copies a published model into the store. Its manifest comes last: without it, it is no model yet."""
        for name in [*manifest["files"], MANIFEST]:
            self._write(self._path(MODELS_FOLDER, model_id, name), (folder / name).read_bytes())

    def write_champion(self, champion: Mapping[str, Any]) -> None:
        """Points the store's `champion.json` at a model that is there."""
        self._write(self._path(CHAMPION_FILE), (json.dumps(champion, indent=2) + "\n").encode())

    def describe(self, model_id: str) -> str:
        """Returns where a model is, for a message."""
        return self._name(self._path(MODELS_FOLDER, model_id))

    def _name(self, path: str) -> str:
        return path if isinstance(self._files, LocalFileSystem) else str(self._files.unstrip_protocol(path))

    def _path(self, *names: str) -> str:
        return "/".join((self._root, *names))

    def _read(self, path: str) -> bytes | None:
        with self._errors(path):
            try:
                return bytes(self._files.cat_file(path))
            except FileNotFoundError:
                return None

    def _write(self, path: str, content: bytes) -> None:
        with self._errors(path):
            if isinstance(self._files, LocalFileSystem):
                with atomic_file(Path(path)) as partial:
                    partial.write_bytes(content)
            else:
                # An object of an object store appears whole or not at all.
                self._files.pipe_file(path, content)

    @contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        """Puts whatever goes wrong with a file of the store into one line."""
        try:
            yield
        except RegistryError:
            raise
        except list_filesystem_errors() as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise StoreError(f"{self._name(path)} can't be had or written: {reason}") from error


def pull_model(name: str, address: str, to: Path) -> Mapping[str, Any]:
    """Copies a model out of a store, whole or not at all, checking every hash.

    Args:
        name: an id, or `champion`.
        address: of the store.
        to: the folder that the model becomes; must not exist, or be empty.

    Returns:
        The model's manifest.

    Raises:
        RegistryError: if the store has no such model, a file of it is missing, truncated or altered, or `to` is taken.
        StoreError: if the store can't be read.
    """
    to = to.resolve()
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise RegistryError(f"{to} is there already: expected a folder that is new or empty")
    remove_partials(to.parent, to.name)  # of one that was killed
    store = Store(address)
    if name == CHAMPION:
        champion = store.read_champion()
        if champion is None:
            raise RegistryError(f"there is no {CHAMPION_FILE} in {address}: expected a store with models/ beside it")
        name = champion["id"]
    where = store.describe(name)
    content = store.read_manifest(name)
    if content is None:
        raise RegistryError(f"there is no model {name!r} in {address}: expected {where}/{MANIFEST}")
    manifest = parse_manifest(content, f"{where}/{MANIFEST}")
    with atomic_folder(to) as partial:
        store.fetch(name, manifest, partial)
        try:
            check_files(partial, manifest)
        except RegistryError as error:
            raise RegistryError(f"refused {where}: {str(error).replace(str(partial), where)}") from error
        (partial / MANIFEST).write_bytes(content)
    return manifest


def push_champion(artifacts_dir: Path, address: str) -> bool:
    """Brings a store up to date with the champion of `artifacts_dir`: first the model, then the pointer to it.

    Returns:
        Whether there was anything to bring.

    Raises:
        RegistryError: if there is no champion, or a file of it is not what its manifest says.
        StoreError: if the store can't be written.
    """
    find_model(CHAMPION, artifacts_dir)  # says if there is none
    pointer = artifacts_dir / CHAMPION_FILE
    # Read once: another process may name another at any time. Without those before it, which the store need not have.
    champion = {**parse_champion(pointer.read_bytes(), str(pointer)), "before": []}
    folder = models_dir(artifacts_dir) / champion["id"]
    content = (folder / MANIFEST).read_bytes()
    store = Store(address)
    is_there = store.read_manifest(folder.name) == content
    if is_there and store.read_champion() == champion:
        return False
    if not is_there:
        store.send(folder.name, folder, check_model(folder))
    store.write_champion(champion)
    logger.info("registry: pushed champion %s to %s", folder.name, address)
    return True
