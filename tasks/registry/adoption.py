"""The champion of a store is the one to beat: it is pulled before a run, and taken over where there is none."""

import logging
from pathlib import Path
from typing import Any

from tasks.atomic import remove_folder
from tasks.errors import RegistryError, StoreError
from tasks.model_folder import ModelFolder
from tasks.registry.models import find_problem, models_dir, read_champion_id, take_over
from tasks.registry.pulling import pull_model
from tasks.registry.stored_model import remove_abandoned
from tasks.registry.stores import Store

logger = logging.getLogger(__name__)

# Champions before the present one that a new machine pulls, too: candidates are compared with the last five.
_NUM_EARLIER = 4


def adopt_champion(artifacts_dir: Path, address: str) -> str | None:
    """Pulls the champion of a store if it is not here; where there is no champion yet, it becomes the champion.

    So a new machine, or one whose `artifacts_dir` was emptied, judges its models like any other.

    Args:
        artifacts_dir: Folder of the registry.
        address: Address of the store.

    Returns:
        The id of the store's champion, with which a candidate has to be compared; None if there is none yet.

    Raises:
        RegistryError: if the store's champion is damaged.
        StoreError: if the store can't be read.
    """
    champion = Store(address).read_champion()
    if champion is None:
        return None
    remove_abandoned(models_dir(artifacts_dir))
    _pull(champion["id"], artifacts_dir, address)
    if read_champion_id(artifacts_dir) is None:
        for entry in champion["before"][-_NUM_EARLIER:]:
            _try_to_pull(entry, artifacts_dir, address)
        take_over(artifacts_dir, champion)
    return str(champion["id"])


def _pull(model_id: str, artifacts_dir: Path, address: str) -> None:
    folder = models_dir(artifacts_dir) / model_id
    if ModelFolder(folder).is_published:
        problem = find_problem(ModelFolder(folder))
        if problem is None:
            return
        logger.warning("registry: %s is pulled again: %s", model_id, problem)
        remove_folder(folder)
    pull_model(model_id, address, folder)
    logger.info("registry: pulled %s, a champion of %s", model_id, address)


def _try_to_pull(entry: dict[str, Any], artifacts_dir: Path, address: str) -> None:
    try:
        _pull(entry["id"], artifacts_dir, address)
    except StoreError:
        raise
    except RegistryError as error:
        logger.warning("registry: nothing is compared with the earlier champion %s: %s", entry["id"], error)
