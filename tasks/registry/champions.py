"""Present and earlier champions: those that a candidate is compared with, and the place of a model among them."""

import json
from collections.abc import Sequence
from pathlib import Path

from tasks.model_folder import ModelFolder
from tasks.registry.champion_file import describe_rollback, list_history
from tasks.registry.models import describe_format_mismatch, models_dir, read_champion
from tasks.settings import GATE_CHECKS

# Each run compares with so many champions, so that falls within the noise can't add up.
_NUM_RIVALS = 5


def list_champions(artifacts_dir: Path) -> list[str]:
    """Returns the ids of the present champion and of the earlier ones, the last first, each once."""
    history = reversed(list_history(read_champion(artifacts_dir)))
    return list(dict.fromkeys(str(champion["id"]) for champion in history))


def list_rivals(artifacts_dir: Path, others: Sequence[str] = ()) -> list[ModelFolder]:
    """Returns the models that a candidate is compared with: present champion, others, and up to four earlier champions.

    Models that are gone, or are of a format that this version can't compare with, are left out.

    Args:
        artifacts_dir: Folder of the registry.
        others: Ids of other models of the registry, such as the champion of a store.
    """
    champions = list_champions(artifacts_dir)[:_NUM_RIVALS]
    ids = dict.fromkeys([*champions[:1], *others, *champions[1:]])
    models = [ModelFolder(models_dir(artifacts_dir) / model_id) for model_id in ids]
    return [model for model in models if model.is_published and describe_format_mismatch(model) is None]


def was_champion(artifacts_dir: Path, model_id: str) -> bool:
    """Returns whether a model has been champion before the present one: only a person makes it champion again."""
    pointer = read_champion(artifacts_dir)
    if pointer is None:
        return False
    earlier = {str(champion["id"]) for champion in pointer["before"]}
    return model_id in earlier or pointer["why"] == describe_rollback(model_id)


def describe_rank(model: ModelFolder, artifacts_dir: Path) -> str:
    """Returns in a line whether a model is the champion, and otherwise why not, who is, and how it could become it.

    Args:
        model: A published model of the registry.
        artifacts_dir: Folder of the registry.
    """
    pointer = read_champion(artifacts_dir)
    if pointer and pointer["id"] == model.id:
        return "passed: it is the champion"
    reasons = model.gate_reasons
    if model.read_manifest()["gate"]["allowed"]:
        reasons = "it passed, but has been champion before" if was_champion(artifacts_dir, model.id) else reasons
    since = f", that is {pointer['id']} since {pointer['since']}" if pointer else ", there is none"
    return (
        f"not the champion{since}. {model.id}: {reasons}. To make it champion all the same: poster-genres promote "
        f"{model.id} --artifacts {artifacts_dir}{_advise_to_allow(model)}"
    )


def _advise_to_allow(model: ModelFolder) -> str:
    """Returns the setting that allows the checks to fail which refused a model; nothing if they can't be allowed."""
    checks = model.read_manifest()["gate"].get("checks", [])
    refused = [check["name"] for check in checks if not check["passed"] and not check.get("is_allowed")]
    if not refused or not set(refused) <= set(GATE_CHECKS):
        return ""
    return f"; or for all runs: --set 'registry.allow={json.dumps(refused)}'"
