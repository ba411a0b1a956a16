"""Remove what runs no longer need, after a good run or by hand."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx

from tasks.errors import PosterGenresError, SettingsError, describe_os_error, one_line
from tasks.locking import locked
from tasks.model_folder import ModelFolder
from tasks.registry.models import list_models
from tasks.registry.retention import prune_models
from tasks.retention import Freed, InUse, list_outdated, remove
from tasks.settings import Settings

if TYPE_CHECKING:
    from flows.storing import StoredData

logger = logging.getLogger(__name__)


def prune(settings: Settings, *, dry_run: bool = False) -> Freed:
    """Removes old models, results, logs and flow runs, by `registry.keep_models` and `retention.keep_days`.

    A part that fails is among the problems of the result, and does not keep the others from being done. The caller
    holds the lock of `data_dir`.

    Args:
        settings: The two settings, and the folders.
        dry_run: Whether everything is only counted.
    """
    keep_days = settings.retention.keep_days
    models = list_models(settings.artifacts_dir)
    newest = models[-1] if models else None
    parts: list[Callable[[], Freed]] = [
        lambda: prune_models(settings.artifacts_dir, settings.registry.keep_models, dry_run=dry_run)
    ]
    if keep_days is not None:
        parts += [
            lambda: _prune_workspace(settings, newest, keep_days, dry_run=dry_run),
            lambda: _prune_flow_runs(settings, keep_days, dry_run=dry_run),
        ]
    return sum(map(_attempt, parts), Freed())


def prune_by_hand(settings: Settings, *, dry_run: bool) -> Freed:
    """Prunes outside of a run, the store, too; see `prune`. A store that another run works with is a problem.

    Args:
        settings: As in `prune`.
        dry_run: Whether what is here is only counted, and the store left as it is.

    Raises:
        SettingsError: If there is no `data_dir`.
        LockedError: If a run works in it, unless everything is only counted.
    """
    if not settings.data_dir.is_dir():
        raise SettingsError(f"no folder {settings.data_dir}: expected that of earlier runs (--set data_dir=...)")
    if dry_run:
        return prune(settings, dry_run=True)
    with locked(settings.data_dir, "a removal of old files", settings.wait_seconds):
        settings.workspace.clear_leftovers()
        return prune(settings) + _attempt(lambda: _prune_store_by_hand(settings))


def prune_after_run(settings: Settings, stored: "StoredData") -> None:
    """Prunes, the store, too, and logs what was freed in one line; problems are one warning, and the run stays good."""
    freed = prune(settings)
    if (keep_days := settings.retention.keep_days) is not None:
        freed += _attempt(lambda: _prune_store(stored, keep_days))
    if freed.removed or freed.num_flow_runs:
        logger.info("retention: removed %s", freed.describe())
    if freed.problems:
        logger.warning("retention: not everything could be removed: %s", "; ".join(freed.problems))


def _attempt(part: Callable[[], Freed]) -> Freed:
    try:
        return part()
    except (PosterGenresError, httpx.HTTPError) as error:
        return Freed(problems=(one_line(error),))
    except OSError as error:
        return Freed(problems=(describe_os_error(error),))


def _prune_store(stored: "StoredData", keep_days: float) -> Freed:
    stored.commit("features")  # without those that were removed here
    return _remove_garbage(stored, keep_days)


def _prune_store_by_hand(settings: Settings) -> Freed:
    """Removes the garbage of the store. What it names is left: this machine's copy may be an old one."""
    # Import libraries of stores.
    from flows.storing import StoredData
    from tasks.storage.lease import leased
    from tasks.storage.objects import ObjectStore

    if settings.data_store is None or settings.retention.keep_days is None:
        return Freed()
    with leased(ObjectStore(settings.data_store), "a removal of old files", settings.wait_seconds) as lease:
        return _remove_garbage(StoredData(settings, lease), settings.retention.keep_days)


def _remove_garbage(stored: "StoredData", keep_days: float) -> Freed:
    if num_objects := stored.remove_garbage(keep_days):
        logger.info("retention: removed %d objects of the store that no manifest names", num_objects)
    return Freed()


def _prune_workspace(settings: Settings, newest: ModelFolder | None, keep_days: float, *, dry_run: bool) -> Freed:
    in_use = InUse.by(newest) if newest else None
    return remove(list_outdated(settings.workspace, in_use, keep_days), dry_run=dry_run)


def _prune_flow_runs(settings: Settings, keep_days: float, *, dry_run: bool) -> Freed:
    # Imports Prefect.
    from flows.flow_runs import prune_flow_runs

    return Freed(num_flow_runs=prune_flow_runs(settings, keep_days, dry_run=dry_run))
