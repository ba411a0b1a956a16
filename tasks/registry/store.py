"""A store of models: a folder, or an address that fsspec knows, with `models/<id>/` and `champion.json` in it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from tasks.atomic import atomic_folder, write_text
from tasks.errors import RegistryError
from tasks.registry.manifest import MANIFEST, check_files, parse_manifest

CHAMPION = "champion"


@dataclass(frozen=True)
class PublishedModel:
    """A model of a local store. `manifest` is what its `manifest.json` says."""

    folder: Path
    manifest: dict[str, Any]
    is_champion: bool

    @property
    def id(self) -> str:
        return self.folder.name


def models_dir(artifacts_dir: Path) -> Path:
    """Returns the folder that has a folder a model."""
    return artifacts_dir / "models"


def name_champion(artifacts_dir: Path, model_id: str) -> None:
    """Makes a published model the current one."""
    write_text(artifacts_dir / "champion.json", json.dumps({"id": model_id}) + "\n")


def list_models(artifacts_dir: Path) -> list[PublishedModel]:
    """Returns the models of a local store, newest last."""
    champion = _read_champion(artifacts_dir)
    return [
        PublishedModel(path.parent, parse_manifest(path.read_bytes(), str(path)), path.parent.name == champion)
        for path in sorted(models_dir(artifacts_dir).glob(f"[!.]*/{MANIFEST}"))
    ]


def find_model(name: str, artifacts_dir: Path) -> Path:
    """Returns the folder of a model: of an id, `champion`, or the path of a folder with a manifest.

    Raises:
        RegistryError: if there is none of that name.
    """
    if name == CHAMPION:
        champion = _read_champion(artifacts_dir)
        if champion is None:
            raise RegistryError(f"there is no champion in {artifacts_dir}: publish a model first (poster-genres run)")
        name = champion
    for folder in (models_dir(artifacts_dir) / name, Path(name)):
        if (folder / MANIFEST).is_file():
            return folder
    known = ", ".join(model.id for model in list_models(artifacts_dir)) or "none"
    raise RegistryError(
        f"no model {name!r}: expected an id of {models_dir(artifacts_dir)} ({known}), 'champion', or a folder with a "
        f"{MANIFEST}"
    )


def pull_model(name: str, store: str, to: Path) -> Mapping[str, Any]:
    """Copies a model out of a store, whole or not at all, checking every hash.

    Args:
        name: an id, or `champion`.
        store: a folder or address with `models/` in it.
        to: the folder that the model becomes; must not exist, or be empty.

    Returns:
        The model's manifest.

    Raises:
        RegistryError: if the store has no such model, a file of it is missing, truncated or altered, or `to` is taken.
    """
    to = to.resolve()
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise RegistryError(f"{to} is there already: expected a folder that is new or empty")
    try:
        files, root = fsspec.core.url_to_fs(store)
    except (ValueError, ImportError) as error:
        raise RegistryError(f"{store} is no store that can be read here: {error}") from error
    root = root.rstrip("/")
    if name == CHAMPION:
        name = str(_parse_champion(_read(files, f"{root}/champion.json")))
    source = f"{root}/models/{name}"
    content = _read(files, f"{source}/{MANIFEST}")
    manifest = parse_manifest(content, f"{source}/{MANIFEST}")
    with atomic_folder(to) as partial:
        for file in manifest["files"]:
            target = partial / file
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                files.get_file(f"{source}/{file}", str(target))
            except FileNotFoundError as error:
                raise RegistryError(f"{source} lacks {file}, which its manifest names: the model is damaged") from error
        try:
            check_files(partial, manifest)
        except RegistryError as error:
            raise RegistryError(f"refused {source}: {str(error).replace(str(partial), source)}") from error
        (partial / MANIFEST).write_bytes(content)
    return manifest


def _read(files: Any, path: str) -> bytes:
    try:
        return bytes(files.cat_file(path))
    except FileNotFoundError as error:
        raise RegistryError(f"there is no {path}: expected a store with models/ and champion.json in it") from error


def _read_champion(artifacts_dir: Path) -> str | None:
    path = artifacts_dir / "champion.json"
    return _parse_champion(path.read_bytes()) if path.exists() else None


def _parse_champion(content: bytes) -> str:
    try:
        return str(json.loads(content)["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryError('champion.json does not name a model: expected {"id": ...}') from error
