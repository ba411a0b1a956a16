"""The published models of this machine: `models/<id>/`, and `champion.json`, which names the champion."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks import versions
from tasks.atomic import atomic_folder, remove_partials, write_text
from tasks.errors import RegistryError
from tasks.locking import locked
from tasks.model_folder import MANIFEST, ModelFolder

logger = logging.getLogger(__name__)

CHAMPION = "champion"
CHAMPION_FILE = "champion.json"
MODELS_FOLDER = "models"
# A change of the registry takes a second or two.
LOCK_SECONDS = 60.0
# Names the model that is about to become champion: see `publication`.
_INTENT_FILE = ".publication.json"


def describe_format_mismatch(model: ModelFolder) -> str | None:
    """Returns why this version can't compare a candidate with a model; None if it can."""
    model_format = model.read_manifest().get("format")
    if model_format == versions.MODEL:
        return None
    return f"{model.id} is of format {model_format}, and this version compares with format {versions.MODEL}"


def models_dir(artifacts_dir: Path) -> Path:
    """Returns the folder with one folder for each model."""
    return artifacts_dir / MODELS_FOLDER


def list_models(artifacts_dir: Path) -> list[ModelFolder]:
    """Returns the models, newest last."""
    return [ModelFolder(path.parent) for path in sorted(models_dir(artifacts_dir).glob(f"[!.]*/{MANIFEST}"))]


def rank_models(artifacts_dir: Path) -> list[ModelFolder]:
    """Returns the models, the champion first, then the newest first."""
    champion_id = read_champion_id(artifacts_dir)
    newest_first = list_models(artifacts_dir)[::-1]
    return sorted(newest_first, key=lambda model: model.id != champion_id)


def find_model(name: str, artifacts_dir: Path) -> ModelFolder:
    """Returns a model by its id, as `champion`, or by the path of its folder.

    Raises:
        RegistryError: if no model has that name.
    """
    if name == CHAMPION:
        champion = read_champion_id(artifacts_dir)
        if champion is None:
            raise RegistryError(f"there is no champion in {artifacts_dir}: publish a model first (poster-genres run)")
        name = champion
    for path in (models_dir(artifacts_dir) / name, Path(name)):
        if ModelFolder(path).is_published:
            return ModelFolder(path)
    known = ", ".join(model.id for model in list_models(artifacts_dir)) or "none"
    raise RegistryError(
        f"no model {name!r}: expected an id of {models_dir(artifacts_dir)} ({known}), 'champion', or a folder with a "
        f"{MANIFEST}"
    )


def read_champion_id(artifacts_dir: Path) -> str | None:
    """Returns the id of the champion, None if there is none yet."""
    path = artifacts_dir / CHAMPION_FILE
    return parse_champion(path.read_bytes(), str(path))["id"] if path.exists() else None


def find_champion(artifacts_dir: Path) -> ModelFolder | None:
    """Returns the champion, to compare a candidate with; None if there is none yet.

    It may be of another version of this project: see `describe_format_mismatch`.

    Raises:
        RegistryError: if its folder is gone.
    """
    champion = read_champion_id(artifacts_dir)
    if champion is None:
        return None
    return find_model(champion, artifacts_dir)


def parse_champion(content: bytes, where: str) -> dict[str, Any]:
    """Returns the content of a `champion.json`: `id`, `since`, `why`, and `before`, the same of earlier champions.

    Args:
        content: Content of the file.
        where: Its path or address, for messages.

    Raises:
        RegistryError: if it does not name a model.
    """
    try:
        champion = json.loads(content)
        return {"since": None, "why": None, "before": [], **champion, "id": str(champion["id"])}
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryError(f'{where} does not name a model: expected {{"id": ...}}') from error


def promote(artifacts_dir: Path, model_id: str, why: str) -> None:
    """Makes a published model the champion; the one before it is remembered.

    Raises:
        RegistryError: if there is no such model, or a file of it differs from its manifest.
        LockedError: if another process holds the registry for longer than `LOCK_SECONDS`.
    """
    model = ModelFolder(models_dir(artifacts_dir) / model_id)
    if not model.is_published:
        find_model(model_id, artifacts_dir)  # its error lists the models
        raise RegistryError(f"{model_id} is a folder elsewhere: expected the id of a model of {artifacts_dir}")
    with registry_lock(artifacts_dir, "a promotion"):
        model.verify()
        _name_champion(artifacts_dir, model_id, why)


def rollback(artifacts_dir: Path) -> str:
    """Makes the previous champion the champion again, and returns its id.

    Raises:
        RegistryError: if there was none before, or it is gone or damaged.
        LockedError: if another process holds the registry for longer than `LOCK_SECONDS`.
    """
    path = artifacts_dir / CHAMPION_FILE
    if not path.exists():
        raise RegistryError(f"there is no champion in {artifacts_dir}: nothing to roll back")
    with registry_lock(artifacts_dir, "a rollback"):
        champion = parse_champion(path.read_bytes(), str(path))
        if not champion["before"]:
            raise RegistryError(f"{artifacts_dir} has had no champion before {champion['id']}")
        *earlier, previous = champion["before"]
        model = ModelFolder(models_dir(artifacts_dir) / previous["id"])
        if not model.is_published:
            raise RegistryError(f"the previous champion, {model.id}, is gone: promote another model by its id")
        model.verify()
        _write_champion(artifacts_dir, model.id, f"rolled back from {champion['id']}", earlier)
    return model.id


@contextmanager
def publication(artifacts_dir: Path, model_id: str, why: str | None) -> Iterator[ModelFolder]:
    """Yields an empty model folder to fill, and publishes it when the block ends without an error.

    The model and `champion.json` change together: if the process is killed between the two, `recover` or the next
    `registry_lock` completes the change. The caller holds the `registry_lock`.

    Args:
        artifacts_dir: Folder of the registry.
        model_id: Id of the new model.
        why: Reason for which the model becomes champion; None if it does not become champion.
    """
    if why is not None:
        write_text(artifacts_dir / _INTENT_FILE, json.dumps({"id": model_id, "why": why}))
    with atomic_folder(models_dir(artifacts_dir) / model_id) as partial:
        yield ModelFolder(partial)
    _complete_publication(artifacts_dir)


@contextmanager
def registry_lock(artifacts_dir: Path, purpose: str) -> Iterator[None]:
    """Holds the registry's lock, and first completes or removes what a killed process left of a publication.

    Args:
        artifacts_dir: Folder of the registry.
        purpose: Purpose of the lock, for the error of another process that waits for it.

    Raises:
        LockedError: if another process holds the registry for longer than `LOCK_SECONDS`.
    """
    with locked(artifacts_dir, purpose, LOCK_SECONDS):
        _recover(artifacts_dir)
        yield


def recover(artifacts_dir: Path) -> None:
    """Completes or removes what a killed process left of a publication.

    Raises:
        LockedError: if another process holds the registry for longer than `LOCK_SECONDS`.
    """
    with locked(artifacts_dir, "a recovery", LOCK_SECONDS):
        _recover(artifacts_dir)


def _recover(artifacts_dir: Path) -> None:
    remove_partials(models_dir(artifacts_dir))
    for name in (CHAMPION_FILE, _INTENT_FILE):
        remove_partials(artifacts_dir, name)
    _complete_publication(artifacts_dir)


def _complete_publication(artifacts_dir: Path) -> None:
    intent_path = artifacts_dir / _INTENT_FILE
    if intent_path.exists():
        intent = json.loads(intent_path.read_text("utf-8"))
        if ModelFolder(models_dir(artifacts_dir) / intent["id"]).is_published:
            _name_champion(artifacts_dir, intent["id"], intent["why"])
        intent_path.unlink()


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
