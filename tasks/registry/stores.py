"""Stores of models: folders, and any address that fsspec supports (S3, GCS, HTTP), laid out like `artifacts/`."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
from fsspec.callbacks import Callback
from fsspec.implementations.local import LocalFileSystem

from tasks.atomic import atomic_file
from tasks.errors import RegistryError
from tasks.filesystems import store_errors
from tasks.model_folder import MANIFEST, ModelFolder
from tasks.registry.champion_file import parse_champion
from tasks.registry.ids import is_model_id
from tasks.registry.models import CHAMPION_FILE, MODELS_FOLDER
from tasks.registry.pointer import Pointer, open_pointer
from tasks.web.addresses import has_credentials

SIGNATURE = f"{MANIFEST}.sig"


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
            raise RegistryError(
                f"{address} is not a supported store: {error}; expected a folder, or an address that fsspec knows"
            ) from error
        self._root = root.rstrip("/")
        self._files.invalidate_cache()  # of listings, from an earlier store in this process

    @cached_property
    def pointer(self) -> Pointer:
        """The store's `champion.json`; the model that it names must be in the store."""
        path = self._path(CHAMPION_FILE)
        return open_pointer(self._files, path, self._name(path))

    def read_champion(self) -> dict[str, Any] | None:
        """Returns the content of the store's `champion.json`, None if there is none."""
        path = self._path(CHAMPION_FILE)
        content = self._read(path)
        return None if content is None else parse_champion(content, self._name(path))

    def read_manifest(self, model_id: str) -> bytes | None:
        """Returns the bytes of a model's manifest, None if there is no such model."""
        return self._read(self._path(MODELS_FOLDER, model_id, MANIFEST))

    def read_signature(self, model_id: str) -> bytes | None:
        """Returns the signature of a model's manifest, None if there is none."""
        return self._read(self._path(MODELS_FOLDER, model_id, SIGNATURE))

    def write_signature(self, model_id: str, signature: bytes) -> None:
        """Writes the signature of a model's manifest."""
        self._write(self._path(MODELS_FOLDER, model_id, SIGNATURE), signature)

    def list_ids(self) -> list[str]:
        """Returns the ids of the models, sorted; those whose store can't be listed are not found (some web servers)."""
        path = self._path(MODELS_FOLDER)
        with store_errors(self._name(path)):
            try:
                found = self._files.ls(path, detail=False)
            except FileNotFoundError:
                return []
        return sorted(name for entry in found if is_model_id(name := entry.rstrip("/").rpartition("/")[2]))

    def find_size(self, model_id: str, name: str) -> int | None:
        """Returns the size of a file in bytes, None if the store does not tell.

        Raises:
            RegistryError: if the file is missing.
            StoreError: if the store can't be read.
        """
        path = self._path(MODELS_FOLDER, model_id, name)
        with store_errors(self._name(path)):
            try:
                size: int | None = self._files.info(path).get("size")
            except FileNotFoundError as error:
                raise self._describe_missing(model_id, name) from error
        return size

    def fetch(self, model_id: str, name: str, num_bytes: int, target: Path) -> None:
        """Copies a file of a model.

        Args:
            model_id: Id of the model.
            name: Name of the file in its manifest.
            num_bytes: Expected size. A longer file is not fetched to its end.
            target: Path of the copy.

        Raises:
            RegistryError: if the file is missing or too long.
            StoreError: if it can't be read.
        """
        path = self._path(MODELS_FOLDER, model_id, name)
        limit = _SizeLimit(num_bytes, self._name(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        with store_errors(self._name(path)):
            try:
                self._files.get_file(path, str(target), callback=limit)
            except FileNotFoundError as error:
                raise self._describe_missing(model_id, name) from error

    def send(self, model: ModelFolder, names: Iterable[str]) -> None:
        """Copies files of a published model into the store; the caller sends the manifest last."""
        for name in names:
            self._write(self._path(MODELS_FOLDER, model.id, name), (model.path / name).read_bytes())

    def describe(self, model_id: str) -> str:
        """Returns the address of a model, for messages."""
        return self._name(self._path(MODELS_FOLDER, model_id))

    def _describe_missing(self, model_id: str, name: str) -> RegistryError:
        return RegistryError(
            f"{self.describe(model_id)} lacks {name}, which its manifest names: the model is damaged; push it again"
        )

    def _name(self, path: str) -> str:
        return path if isinstance(self._files, LocalFileSystem) else str(self._files.unstrip_protocol(path))

    def _path(self, *names: str) -> str:
        return "/".join((self._root, *names))

    def _read(self, path: str) -> bytes | None:
        with store_errors(self._name(path)):
            try:
                return bytes(self._files.cat_file(path))
            except FileNotFoundError:
                return None

    def _write(self, path: str, content: bytes) -> None:
        with store_errors(self._name(path)):
            if isinstance(self._files, LocalFileSystem):
                with atomic_file(Path(path)) as partial:
                    partial.write_bytes(content)
            else:
                # An object of an object store appears whole or not at all.
                self._files.pipe_file(path, content)


class _SizeLimit(Callback):  # type: ignore[misc]  # fsspec has no types
    """Ends a transfer that brings more than was declared, whatever the store said of the file's size."""

    def __init__(self, num_bytes: int, where: str) -> None:
        super().__init__()
        self._num_bytes, self._where = num_bytes, where

    def relative_update(self, inc: int = 1) -> None:
        super().relative_update(inc)
        if self.value > self._num_bytes:
            raise RegistryError(f"refused {self._where}: it has more bytes than the {self._num_bytes:,} expected")
