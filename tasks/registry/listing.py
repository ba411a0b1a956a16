"""Lists of models, of this machine and of stores."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import RegistryError, StoreError
from tasks.registry.models import list_models, read_champion_id
from tasks.registry.stored_model import find_stored_model
from tasks.registry.stores import Store

logger = logging.getLogger(__name__)

_UNKNOWN = "-"


@dataclass(frozen=True)
class Row:
    """A model of a list.

    Attributes:
        id: Id of the model.
        manifest: Its manifest; of other versions, entries may be missing or different.
    """

    id: str
    manifest: Mapping[str, Any]

    def as_cells(self, champion_id: str | None) -> list[str]:
        """Returns id, rank, recipe, macro-F1, number of genres, and the result of the gate."""
        macro_f1, genres, gate = (self.manifest.get(name) for name in ("macro_f1", "genres", "gate"))
        return [
            self.id,
            "yes" if self.id == champion_id else "",
            str(self.manifest.get("recipe", _UNKNOWN)),
            f"{macro_f1:.3f}" if isinstance(macro_f1, int | float) else _UNKNOWN,
            str(len(genres)) if isinstance(genres, list) else _UNKNOWN,
            ("passed" if gate.get("allowed") else "stopped") if isinstance(gate, dict) else _UNKNOWN,
        ]


@dataclass(frozen=True)
class Listing:
    """The models of a registry or a store, oldest first.

    Attributes:
        rows: The models that can be read.
        champion_id: Id of the champion, which need not be among them; None if there is none.
    """

    rows: list[Row]
    champion_id: str | None


def list_local(artifacts_dir: Path) -> Listing:
    """Lists the models of this machine.

    Raises:
        RegistryError: if `champion.json` does not name a model.
    """
    rows = [Row(model.id, model.read_manifest()) for model in list_models(artifacts_dir)]
    return Listing(rows, read_champion_id(artifacts_dir))


def list_stored(address: str) -> Listing:
    """Lists the models of a store; one whose manifest can't be used is left out, with a warning.

    Raises:
        RegistryError: if `champion.json` does not name a model.
        StoreError: if the store can't be read.
    """
    store = Store(address)
    champion = store.read_champion()
    # Web servers may not list a folder: what the pointer names is found all the same.
    named = {entry["id"] for entry in (champion, *champion["before"])} if champion else set()
    rows = [row for model_id in sorted({*store.list_ids(), *named}) if (row := _read_row(model_id, store, named))]
    return Listing(rows, champion["id"] if champion else None)


def _read_row(model_id: str, store: Store, named: set[str]) -> Row | None:
    try:
        if store.read_manifest(model_id) is None:
            if model_id in named:
                logger.warning("registry: %s is not in %s", model_id, store.address)
            return None  # a model that is being pushed has none yet
        return Row(model_id, find_stored_model(model_id, store).manifest)
    except StoreError:
        raise
    except RegistryError as error:
        logger.warning("registry: %s is left out: %s", model_id, error)
        return None
