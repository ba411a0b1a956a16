"""The published models of this machine: `models/<id>/`, and `champion.json`, which names the champion."""

import functools
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks import versions
from tasks.atomic import atomic_file, atomic_folder, remove_partials, write_text
from tasks.errors import RegistryError, describe_os_error
from tasks.locking import locked
from tasks.model_folder import MANIFEST, ModelFolder
from tasks.registry.champion_file import list_history, make_champion, parse_champion, render_champion, roll_back
from tasks.registry.ids import check_model_id, is_model_id

logger = logging.getLogger(__name__)

CHAMPION = "champion"
CHAMPION_FILE = "champion.json"
MODELS_FOLDER = "models"
# Where `poster-genres demo` publishes, in the folder of the real models.
SAMPLE_FOLDER = "sample"
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
    """Returns the models, newest last. One whose manifest can't be read is left out; the first time with a warning."""
    models = [ModelFolder(path.parent) for path in sorted(models_dir(artifacts_dir).glob(f"[!.]*/{MANIFEST}"))]
    return [model for model in models if _is_readable(model)]


def _is_readable(model: ModelFolder) -> bool:
    problem = find_problem(model)
    if problem:
        _warn_once(model.id, problem)
    return problem is None


@functools.lru_cache(maxsize=1000)
def _warn_once(model_id: str, problem: str) -> None:
    """Warns that a model is left out: a run lists the models several times."""
    logger.warning("registry: %s is left out: %s", model_id, problem)


def find_problem(model: ModelFolder) -> str | None:
    """Returns in one line why a model of the registry can't be used; None if it can.

    Its manifest is read, and not its files: see `ModelFolder.verify`.
    """
    try:
        manifest_id = model.read_manifest()["id"]
    except RegistryError as error:
        return str(error)
    except OSError as error:
        return describe_os_error(error)
    if manifest_id != model.id or not is_model_id(model.id):
        return f"{model.manifest_path} is of model {manifest_id!r}: expected the name of its folder"
    return None


def rank_models(artifacts_dir: Path) -> list[ModelFolder]:
    """Returns the models, the champion first, then the newest first."""
    champion_id = read_champion_id(artifacts_dir)
    newest_first = list_models(artifacts_dir)[::-1]
    return sorted(newest_first, key=lambda model: model.id != champion_id)


def _point_to_sample(artifacts_dir: Path) -> str:
    """Returns how to use the model of `poster-genres demo`, if there is one; it is kept apart from real ones."""
    sample = artifacts_dir / SAMPLE_FOLDER
    return f", or use that of the demo: --artifacts {sample}" if (sample / CHAMPION_FILE).is_file() else ""


def find_model(name: str, artifacts_dir: Path) -> ModelFolder:
    """Returns a model by its id, as `champion`, or by the path of its folder.

    Raises:
        RegistryError: if no model has that name, or the champion can't be used.
    """
    if name == CHAMPION:
        champion = read_champion_id(artifacts_dir)
        if champion is None:
            raise RegistryError(
                f"there is no champion in {artifacts_dir}: publish a model first (poster-genres run)"
                f"{_point_to_sample(artifacts_dir)}"
            )
        return _check_champion(champion, artifacts_dir)
    for path in (models_dir(artifacts_dir) / name, Path(name)):
        if ModelFolder(path).is_published:
            return ModelFolder(path)
    raise RegistryError(f"{_describe_unknown(name, artifacts_dir)}, 'champion', or a folder with a {MANIFEST}")


def read_champion_id(artifacts_dir: Path) -> str | None:
    """Returns the id of the champion, None if there is none yet."""
    champion = read_champion(artifacts_dir)
    return champion["id"] if champion else None


def read_champion(artifacts_dir: Path) -> dict[str, Any] | None:
    """Returns the content of `champion.json`, as `parse_champion` does, None if there is no champion yet."""
    path = artifacts_dir / CHAMPION_FILE
    return parse_champion(path.read_bytes(), str(path)) if path.exists() else None


def find_champion(artifacts_dir: Path) -> ModelFolder | None:
    """Returns the champion, to compare a candidate with; None if there is none yet.

    It may be of another version of this project: see `describe_format_mismatch`.

    Raises:
        RegistryError: if its folder is gone, or its manifest can't be read.
    """
    champion = read_champion_id(artifacts_dir)
    return None if champion is None else _check_champion(champion, artifacts_dir)


def _check_champion(model_id: str, artifacts_dir: Path) -> ModelFolder:
    champion = ModelFolder(models_dir(artifacts_dir) / model_id)
    if problem := find_problem(champion):
        raise RegistryError(
            f"the champion of {artifacts_dir} can't be used: {problem}. Restore models/{model_id} (poster-genres pull "
            f"{model_id} --from a store that has it), or make another champion (poster-genres promote, rollback)"
        )
    return champion


def promote(artifacts_dir: Path, model_id: str, why: str) -> None:
    """Makes a published model the champion; the one before it is remembered.

    Raises:
        RegistryError: if there is no such model, it is of another format, or a file of it differs from its manifest.
        LockedError: if another process holds the registry for longer than `LOCK_SECONDS`.
    """
    model = ModelFolder(models_dir(artifacts_dir) / check_model_id(model_id))
    if not model.is_published:
        raise _describe_unknown(model_id, artifacts_dir)
    with registry_lock(artifacts_dir, "a promotion"):
        _check_eligible(model)
        _name_champion(artifacts_dir, model_id, why)


def rollback(artifacts_dir: Path) -> str:
    """Makes the previous champion the champion again, and returns its id.

    Raises:
        RegistryError: if there was none before, or it is gone, damaged or of another format.
        LockedError: if another process holds the registry for longer than `LOCK_SECONDS`.
    """
    path = artifacts_dir / CHAMPION_FILE
    if not path.exists():
        raise RegistryError(f"there is no champion in {artifacts_dir}: nothing to roll back; promote a model by its id")
    with registry_lock(artifacts_dir, "a rollback"):
        champion = roll_back(parse_champion(path.read_bytes(), str(path)), str(artifacts_dir))
        model = ModelFolder(models_dir(artifacts_dir) / champion["id"])
        if not model.is_published:
            raise RegistryError(f"the previous champion, {model.id}, is gone: promote another model by its id")
        _check_eligible(model)
        _write_champion(artifacts_dir, champion)
    return model.id


def take_over(artifacts_dir: Path, champion: dict[str, Any]) -> None:
    """Takes over the `champion.json` of a store where there is no champion yet; the model must be here.

    Args:
        artifacts_dir: Folder of the registry.
        champion: Content of the store's file, as `parse_champion` returns it.

    Raises:
        LockedError: if another process holds the registry for longer than `LOCK_SECONDS`.
    """
    with registry_lock(artifacts_dir, "taking over a store's champion"):
        if read_champion_id(artifacts_dir) is None:
            _write_champion(artifacts_dir, champion)


def _check_eligible(model: ModelFolder) -> None:
    if problem := find_problem(model):
        raise RegistryError(f"{problem}. Pull the model again, or promote another")
    if mismatch := describe_format_mismatch(model):
        raise RegistryError(f"{mismatch}: no later model could be compared with it. Promote another model")
    model.verify()


def _describe_unknown(name: str, artifacts_dir: Path) -> RegistryError:
    known = ", ".join(model.id for model in list_models(artifacts_dir)) or "none"
    return RegistryError(f"no model {name!r}: expected an id of {models_dir(artifacts_dir)} ({known})")


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
    current = None
    try:
        current = read_champion(artifacts_dir)
    except RegistryError as error:
        logger.warning("registry: the history of champions begins anew, %s", error)
    if current is None or current["id"] != model_id:
        _write_champion(artifacts_dir, make_champion(model_id, why, list_history(current)))


def _write_champion(artifacts_dir: Path, champion: dict[str, Any]) -> None:
    with atomic_file(artifacts_dir / CHAMPION_FILE) as partial:
        partial.write_bytes(render_champion(champion))
    logger.info("registry: %s is now the champion of %s", champion["id"], artifacts_dir)
