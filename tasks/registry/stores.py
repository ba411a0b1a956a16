"""Stores of models: folders, and any address that fsspec supports (S3, GCS, HTTP), laid out like `artifacts/`."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from tasks.atomic import atomic_file, atomic_folder, remove_partials
from tasks.errors import RegistryError, StoreError, one_line
from tasks.filesystems import list_filesystem_errors
from tasks.model_folder import MANIFEST, ModelFolder, parse_manifest
from tasks.registry.models import CHAMPION, CHAMPION_FILE, MODELS_FOLDER, find_model, models_dir, parse_champion
from tasks.web.addresses import has_credentials

logger = logging.getLogger(__name__)


class Store:
    """A store of models at an address.

    Args:
        address: Folder, `s3://bucket/path`, `gs://bucket/path`, `https://host/path`, or any other address that fsspec
            supports with the packages installed. Credentials and endpoints come from the environment variables of
            the libraries behind it (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL` and so on).

    Raises:
        RegistryError: if fsspec does not support the address.
    """

    def __init__(self, address: str) -> None:
        if has_credentials(address):
            raise RegistryError(
                f"{address} has a user name or a password: give them by the environment, or by fsspec's configuration"
            )
        self.address = address
        try:
            self._files, root = fsspec.core.url_to_fs(address)
        except (ValueError, ImportError) as error:
            raise RegistryError(f"{address} is not a supported store: {error}") from error
        self._root = root.rstrip("/")

    def read_champion(self) -> dict[str, Any] | None:
        """Returns the content of the store's `champion.json`, None if there is none."""
        path = self._path(CHAMPION_FILE)
        content = self._read(path)
        return None if content is None else parse_champion(content, path)

    def read_manifest(self, model_id: str) -> bytes | None:
        """Returns the bytes of a model's manifest, None if there is no such model."""
        return self._read(self._path(MODELS_FOLDER, model_id, MANIFEST))

    def fetch(self, model_id: str, manifest: Mapping[str, Any], folder: Path) -> None:
        """Copies the files of a model's manifest into `folder`.

        Raises:
            RegistryError: if a file is missing.
            StoreError: if a file can't be read.
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

    def send(self, model: ModelFolder, manifest: Mapping[str, Any]) -> None:
        """Copies a published model into the store. The manifest comes last: without it the model does not exist."""
        for name in [*manifest["files"], MANIFEST]:
            self._write(self._path(MODELS_FOLDER, model.id, name), (model.path / name).read_bytes())

    def write_champion(self, champion: Mapping[str, Any]) -> None:
        """Writes the store's `champion.json`; the model that it names must be in the store."""
        self._write(self._path(CHAMPION_FILE), (json.dumps(champion, indent=2) + "\n").encode())

    def describe(self, model_id: str) -> str:
        """Returns the address of a model, for messages."""
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
        """Turns an error at a file of the store into a `StoreError` of one line."""
        try:
            yield
        except RegistryError:
            raise
        except list_filesystem_errors() as error:
            raise StoreError(f"{self._name(path)} can't be read or written: {one_line(error)}") from error


def pull_model(name: str, address: str, to: Path) -> Mapping[str, Any]:
    """Copies a model out of a store, whole or not at all, and verifies every hash.

    Args:
        name: Id of the model, or `champion`.
        address: Address of the store.
        to: New folder of the model; must not exist, or be empty.

    Returns:
        The model's manifest.

    Raises:
        RegistryError: if the store has no such model, a file of it is missing, truncated or altered, or `to` is not
            empty.
        StoreError: if the store can't be read.
    """
    to = to.resolve()
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise RegistryError(f"{to} exists already: expected a folder that is new or empty")
    remove_partials(to.parent, to.name)  # an earlier pull may have been killed
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
        model = ModelFolder(partial)
        model.manifest_path.write_bytes(content)
        try:
            model.verify()
        except RegistryError as error:
            raise RegistryError(f"refused {where}: {str(error).replace(str(partial), where)}") from error
    return manifest


def push_champion(artifacts_dir: Path, address: str) -> bool:
    """Copies the champion of `artifacts_dir` to a store: first the model, then `champion.json`.

    Returns:
        False if the store has that champion already.

    Raises:
        RegistryError: if there is no champion, or a file of it differs from its manifest.
        StoreError: if the store can't be written.
    """
    find_model(CHAMPION, artifacts_dir)  # raises if there is none
    pointer = artifacts_dir / CHAMPION_FILE
    # Read once: another process may promote another at any time. Without earlier champions, which the store may lack.
    champion = {**parse_champion(pointer.read_bytes(), str(pointer)), "before": []}
    model = ModelFolder(models_dir(artifacts_dir) / champion["id"])
    store = Store(address)
    is_stored = store.read_manifest(model.id) == model.manifest_path.read_bytes()
    if is_stored and store.read_champion() == champion:
        return False
    if not is_stored:
        store.send(model, model.verify())
    store.write_champion(champion)
    logger.info("registry: pushed champion %s to %s", model.id, address)
    return True
