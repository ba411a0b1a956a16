import json
import logging
from pathlib import Path

import pytest
from small_stores import Damage

from tasks.errors import RegistryError
from tasks.registry.listing import list_local, list_stored


def test_models_of_this_machine(store: Path) -> None:
    listing = list_local(store)
    assert [row.as_cells(listing.champion_id)[:2] for row in listing.rows] == [["one", ""], ["two", "yes"]]
    assert list_local(store / "none") == list_stored(str(store / "none"))
    assert not list_local(store / "none").rows


@pytest.mark.parametrize(
    ("entries", "cells"),
    [
        ({}, ["-", "-", "-", "-"]),
        ({"recipe": "seed", "macro_f1": 0.4567, "genres": ["A", "B"], "gate": {"allowed": True}}, None),
        ({"recipe": None, "macro_f1": "high", "genres": 3, "gate": "passed"}, ["None", "-", "-", "-"]),
        ({"gate": {}}, ["-", "-", "-", "stopped"]),
    ],
)
def test_manifests_of_other_versions_are_listed(
    store: Path, entries: dict[str, object], cells: list[str] | None
) -> None:
    path = store / "models" / "one" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))
    (store / "models" / "one" / "labels.json").unlink()
    assert list_local(store).rows[0].as_cells("two")[2:] == (cells or ["seed", "0.457", "2", "passed"])


def test_models_of_a_store(remote: tuple[str, Damage]) -> None:
    listing = list_stored(remote[0])
    assert [row.as_cells(listing.champion_id)[:2] for row in listing.rows] == [["one", ""], ["two", "yes"]]


def test_models_of_a_store_that_can_not_be_read_are_left_out(
    remote: tuple[str, Damage], store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address, damage = remote
    damage("models/one/manifest.json", b"")
    caplog.set_level(logging.WARNING)
    listing = list_stored(address)
    assert [row.id for row in listing.rows] == ["two"]
    (message,) = [record.message for record in caplog.records if record.name.startswith("tasks.")]
    assert "registry: one is left out: " in message
    assert "models/one/manifest.json is not a manifest of a model" in message
    damage("models/two/manifest.json", None)
    assert list_stored(address).rows == []
    assert f"registry: two is not in {address}" in caplog.text
    damage("champion.json", b"")
    with pytest.raises(RegistryError, match=r"champion\.json does not name a model"):
        list_stored(address)
