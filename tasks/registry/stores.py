"""Stores of models: folders, and any address that fsspec supports (S3, GCS, HTTP), laid out like `artifacts/`."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks.errors import RegistryError
from tasks.model_folder import MANIFEST, ModelFolder
from tasks.registry.champion_file import parse_champion
from tasks.registry.ids import is_model_id
from tasks.registry.models import CHAMPION_FILE, MODELS_FOLDER
from tasks.storage.objects import ObjectStore
from tasks.storage.pointer import Pointer

SIGNATURE = f"{MANIFEST}.sig"


class Store:
    """A store of models at an address.

    Args:
        address: Address, as `ObjectStore` takes it.

    Raises:
        RegistryError: if fsspec does not support the address.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._objects = ObjectStore(address)

    @cached_property
    def pointer(self) -> Pointer:
        """The store's `champion.json`; the model that it names must be in the store."""
        return self._objects.pointer(CHAMPION_FILE)

    def read_champion(self) -> dict[str, Any] | None:
        """Returns the content of the store's `champion.json`, None if there is none."""
        content = self._objects.read(CHAMPION_FILE)
        return None if content is None else parse_champion(content, self._objects.describe(CHAMPION_FILE))

    def read_manifest(self, model_id: str) -> bytes | None:
        """Returns the bytes of a model's manifest, None if there is no such model."""
        return self._objects.read(_name(model_id, MANIFEST))

    def read_signature(self, model_id: str) -> bytes | None:
        """Returns the signature of a model's manifest, None if there is none."""
        return self._objects.read(_name(model_id, SIGNATURE))

    def write_signature(self, model_id: str, signature: bytes) -> None:
        """Writes the signature of a model's manifest."""
        self._objects.write(_name(model_id, SIGNATURE), signature)

    def list_ids(self) -> list[str]:
        """Returns the ids of the models, sorted; those whose store can't be listed are not found (some web servers)."""
        return [name for name in self._objects.list_names(MODELS_FOLDER) if is_model_id(name)]

    def find_size(self, model_id: str, name: str) -> int | None:
        """Returns the size of a file in bytes, None if the store does not tell.

        Raises:
            RegistryError: if the file is missing.
            StoreError: if the store can't be read.
        """
        try:
            return self._objects.find_size(_name(model_id, name))
        except FileNotFoundError as error:
            raise self._describe_missing(model_id, name) from error

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
        try:
            self._objects.fetch(_name(model_id, name), num_bytes, target)
        except FileNotFoundError as error:
            raise self._describe_missing(model_id, name) from error

    def send(self, model: ModelFolder, names: Iterable[str]) -> None:
        """Copies files of a published model into the store; the caller sends the manifest last."""
        for name in names:
            self._objects.send(model.path / name, _name(model.id, name))

    def describe(self, model_id: str) -> str:
        """Returns the address of a model, for messages."""
        return self._objects.describe(f"{MODELS_FOLDER}/{model_id}")

    def _describe_missing(self, model_id: str, name: str) -> RegistryError:
        return RegistryError(
            f"{self.describe(model_id)} lacks {name}, which its manifest names: the model is damaged; push it again"
        )


def _name(model_id: str, file: str) -> str:
    return f"{MODELS_FOLDER}/{model_id}/{file}"
