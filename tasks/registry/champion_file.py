"""The content of `champion.json`, the pointer to the champion, of this machine and of stores."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tasks.errors import RegistryError
from tasks.registry.ids import is_model_id

_FIELDS = ("id", "since", "why")


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
        before = [_parse_entry(entry) for entry in champion.get("before", [])]
        return {**_parse_entry(champion), "before": before}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RegistryError(
            f'{where} does not name a model: expected {{"id": ...}}. Promote a model, or remove the file'
        ) from error


def render_champion(champion: Mapping[str, Any]) -> bytes:
    """Returns the bytes of a `champion.json`."""
    return (json.dumps(champion, indent=2, ensure_ascii=False) + "\n").encode()


def list_history(champion: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Returns the earlier champions and the present one, oldest first; none if there is no champion."""
    if champion is None:
        return []
    return [*champion["before"], {name: champion[name] for name in _FIELDS}]


def make_champion(model_id: str, why: str, before: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the content for a model that becomes champion now.

    Args:
        model_id: Id of the model.
        why: Reason for which it becomes champion.
        before: Earlier champions, as `list_history` returns them.
    """
    return {"id": model_id, "since": datetime.now(UTC).isoformat(timespec="seconds"), "why": why, "before": before}


def roll_back(champion: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Returns the content after the champion before this one became champion again.

    Args:
        champion: Present content.
        where: The registry or store, for messages.

    Raises:
        RegistryError: if there was none before.
    """
    if not champion["before"]:
        raise RegistryError(
            f"{where} has had no champion before {champion['id']}: nothing to roll back; promote a model by its id"
        )
    *earlier, previous = champion["before"]
    return make_champion(previous["id"], describe_rollback(champion["id"]), earlier)


def describe_rollback(model_id: str) -> str:
    """Returns the reason of a champion that became champion again when another one was rolled back."""
    return f"rolled back from {model_id}"


def _parse_entry(entry: Any) -> dict[str, Any]:
    model_id = str(entry["id"])
    if not is_model_id(model_id):
        raise ValueError(f"{model_id!r} is not an id")
    return {"id": model_id, "since": entry.get("since"), "why": entry.get("why")}
