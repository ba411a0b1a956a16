"""The published models of this machine: `models/<id>/`, and `champion.json`, which names the current one."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks import versions
from tasks.atomic import atomic_folder, remove_partials, write_text
from tasks.errors import RegistryError
from tasks.locking import locked
from tasks.registry.manifest import MANIFEST, check_files, read_manifest

logger = logging.getLogger(__name__)

CHAMPION = "champion"
CHAMPION_FILE = "champion.json"
MODELS_FOLDER = "models"
# Whoever changes the registry is done within a second or two.
LOCK_SECONDS = 60.0
# Names the model that is about to become champion: see `publication`.
_INTENT_FILE = ".publication.json"


@dataclass(frozen=True)
class PublishedModel:
    """A published model. `manifest` is what its `manifest.json` says."""

    folder: Path
    manifest: dict[str, Any]
    is_champion: bool

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def format_mismatch(self) -> str | None:
        """Why this version can't compare a candidate with the model; None if it can."""
        model_format = self.manifest.get("format")
        if model_format == versions.MODEL:
            return None
        return f"{self.id} is of format {model_format}, and this version compares with format {versions.MODEL}"


def models_dir(artifacts_dir: Path) -> Path:
    """Returns the folder that has a folder a model."""
    return artifacts_dir / MODELS_FOLDER


def list_models(artifacts_dir: Path) -> list[PublishedModel]:
    """Returns the models, newest last."""
    champion = read_champion_id(artifacts_dir)
    return [
        PublishedModel(path.parent, read_manifest(path.parent), path.parent.name == champion)
        for path in sorted(models_dir(artifacts_dir).glob(f"[!.]*/{MANIFEST}"))
    ]


def find_model(name: str, artifacts_dir: Path) -> Path:
    """Returns the folder of a model: of an id, `champion`, or the path of a folder with a manifest.

    Raises:
        RegistryError: if there is none of that name.
    """
    if name == CHAMPION:
        champion = read_champion_id(artifacts_dir)
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


def read_champion_id(artifacts_dir: Path) -> str | None:
    """Returns the id of the current model, None if there is none yet."""
    path = artifacts_dir / CHAMPION_FILE
    return parse_champion(path.read_bytes(), str(path))["id"] if path.exists() else None


def find_champion(artifacts_dir: Path) -> PublishedModel | None:
    """Returns the current model, to compare a candidate with; None if there is none yet.

    It may be of another version of this project: see `format_mismatch`.

    Raises:
        RegistryError: if its folder is gone.
    """
    champion = read_champion_id(artifacts_dir)
    if champion is None:
        return None
    folder = find_model(champion, artifacts_dir)
    return PublishedModel(folder, read_manifest(folder), is_champion=True)


def check_model(folder: Path) -> dict[str, Any]:
    """Returns the manifest of a published model whose files are all as it says.

    Raises:
        RegistryError: naming the first that is not.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    return manifest


def parse_champion(content: bytes, where: str) -> dict[str, Any]:
    """Returns what a `champion.json` says: `id`, `since`, `why`, and `before`, the same of the champions before it."""
    try:
        champion = json.loads(content)
        return {"since": None, "why": None, "before": [], **champion, "id": str(champion["id"])}
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryError(f'{where} does not name a model: expected {{"id": ...}}') from error


def promote(artifacts_dir: Path, model_id: str, why: str) -> None:
    """Makes a published model the current one; the one before it is remembered.

    Raises:
        RegistryError: if there is no such model, or a file of it is not what its manifest says.
        LockedError: if another process does not let go of the registry.
    """
    if not (models_dir(artifacts_dir) / model_id / MANIFEST).is_file():
        find_model(model_id, artifacts_dir)  # says which there are
        raise RegistryError(f"{model_id} is a folder elsewhere: expected the id of a model of {artifacts_dir}")
    with changing(artifacts_dir, "a promotion"):
        check_model(models_dir(artifacts_dir) / model_id)
        _name_champion(artifacts_dir, model_id, why)


def rollback(artifacts_dir: Path) -> str:
    """Makes the champion before the current one the current one again, and returns its id.

    Raises:
        RegistryError: if there was none before, or it is gone or damaged.
        LockedError: if another process does not let go of the registry.
    """
    path = artifacts_dir / CHAMPION_FILE
    if not path.exists():
        raise RegistryError(f"there is no champion in {artifacts_dir}: nothing to go back from")
    with changing(artifacts_dir, "a rollback"):
        champion = parse_champion(path.read_bytes(), str(path))
        if not champion["before"]:
            raise RegistryError(f"{artifacts_dir} has had no champion before {champion['id']}")
        *earlier, previous = champion["before"]
        folder = models_dir(artifacts_dir) / previous["id"]
        if not (folder / MANIFEST).is_file():
            raise RegistryError(f"the champion before, {previous['id']}, is gone: promote another model by its id")
        check_model(folder)
        _write_champion(artifacts_dir, previous["id"], f"rolled back from {champion['id']}", earlier)
    return str(previous["id"])


@contextmanager
def publication(artifacts_dir: Path, model_id: str, why: str | None) -> Iterator[Path]:
    """Gives an empty folder to fill with a model; publishes it when the block ends without an error.

    Model and pointer change together: what a killed process leaves between the two, the next that is `changing` the
    registry completes. To be called inside that.

    Args:
        artifacts_dir: of the registry.
        model_id: its id.
        why: the model becomes champion; None if it does not.

    Yields:
        The folder to fill.
    """
    if why is None:
        with atomic_folder(models_dir(artifacts_dir) / model_id) as partial:
            yield partial
        return
    write_text(artifacts_dir / _INTENT_FILE, json.dumps({"id": model_id, "why": why}))
    with atomic_folder(models_dir(artifacts_dir) / model_id) as partial:
        yield partial
    _keep_promise(artifacts_dir)


@contextmanager
def changing(artifacts_dir: Path, what: str) -> Iterator[None]:
    """Holds the registry's lock; completes or clears away first what a killed process left of a publication.

    Args:
        artifacts_dir: of the registry.
        what: the holder does, in words for whoever has to wait.

    Raises:
        LockedError: if another process does not let go of the registry.
    """
    with locked(artifacts_dir, what, LOCK_SECONDS):
        remove_partials(models_dir(artifacts_dir))
        for name in (CHAMPION_FILE, _INTENT_FILE):
            remove_partials(artifacts_dir, name)
        _keep_promise(artifacts_dir)
        yield


def _keep_promise(artifacts_dir: Path) -> None:
    intent = artifacts_dir / _INTENT_FILE
    if intent.exists():
        promised = json.loads(intent.read_text("utf-8"))
        if (models_dir(artifacts_dir) / promised["id"] / MANIFEST).is_file():
            _name_champion(artifacts_dir, promised["id"], promised["why"])
        intent.unlink()


def _name_champion(artifacts_dir: Path, model_id: str, why: str) -> None:
    path = artifacts_dir / CHAMPION_FILE
    before: list[dict[str, Any]] = []
    if path.exists():
        current = parse_champion(path.read_bytes(), str(path))
        if current["id"] == model_id:
            return
        before = [*current["before"], {name: current[name] for name in ("id", "since", "why")}]
    _write_champion(artifacts_dir, model_id, why, before)


def _write_champion(artifacts_dir: Path, model_id: str, why: str, before: list[dict[str, Any]]) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    champion = {"id": model_id, "since": now, "why": why, "before": before}
    write_text(artifacts_dir / CHAMPION_FILE, json.dumps(champion, indent=2, ensure_ascii=False) + "\n")
    logger.info("registry: %s is now the champion of %s", model_id, artifacts_dir)
