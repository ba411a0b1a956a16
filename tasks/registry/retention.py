"""Old models of the registry, and their removal."""

import re
from pathlib import Path

from tasks.model_folder import ModelFolder
from tasks.registry.champions import list_champions
from tasks.registry.models import list_models, models_dir, registry_lock
from tasks.retention import Freed, Outdated, remove

# Champions before the present one: a rollback goes to them, and the gate compares with them.
PROTECTED_CHAMPIONS = 5

# As `tasks.registry.task` names models; a folder with another name is somebody's own.
_MODEL_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")


def list_outdated_models(artifacts_dir: Path, keep_models: int) -> list[Outdated]:
    """Returns the models that are not needed: neither among the newest, nor champion, nor one of the last champions.

    Args:
        artifacts_dir: Folder of the registry.
        keep_models: Number of the newest models that are kept.

    Raises:
        RegistryError: If `champion.json` does not name a model: then it is not known what is needed.
    """
    models = list_models(artifacts_dir)
    removable = [model for model in models if _is_removable(model)]
    # The champion too, beside those before it.
    protected = set(list_champions(artifacts_dir)[: 1 + PROTECTED_CHAMPIONS])
    for newest in models[-1:]:
        # Its rivals, the store's champion among them, which would be pulled again by the next run.
        protected |= set(newest.read_manifest().get("gate", {}).get("rivals", []))
    return [Outdated(model.path, "models") for model in removable[:-keep_models] if model.id not in protected]


def prune_models(artifacts_dir: Path, keep_models: int | None, *, dry_run: bool = False) -> Freed:
    """Removes the models that are not needed; see `list_outdated_models`.

    Args:
        artifacts_dir: Folder of the registry.
        keep_models: Number of the newest models that are kept; None: all.
        dry_run: Whether they are only counted.

    Raises:
        RegistryError: If `champion.json` does not name a model.
        LockedError: If another process holds the registry for longer than `LOCK_SECONDS`.
    """
    if keep_models is None or not models_dir(artifacts_dir).is_dir():
        return Freed()
    if dry_run:
        return remove(list_outdated_models(artifacts_dir, keep_models), dry_run=True)
    with registry_lock(artifacts_dir, "a removal of old models"):
        return remove(list_outdated_models(artifacts_dir, keep_models))


def _is_removable(model: ModelFolder) -> bool:
    return _MODEL_ID.fullmatch(model.id) is not None and not model.path.is_symlink()
