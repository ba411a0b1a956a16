import json
from pathlib import Path
from typing import Any

import pytest

from tasks.model_folder import ModelFolder
from tasks.registry.champions import describe_rank, list_rivals, was_champion
from tasks.registry.models import promote, rollback
from tasks.settings import GATE_CHECKS


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Models m0 to m9, of which m0 to m7 were promoted in turn."""
    for number in range(10):
        model = ModelFolder(tmp_path / "models" / f"m{number}")
        model.path.mkdir(parents=True)
        gate = {"allowed": number < 8, "reasons": "floor: too low"}
        model.write_manifest({"id": model.id, "format": 1, "gate": gate})
    for number in range(8):
        promote(tmp_path, f"m{number}", "better")
    return tmp_path


def names(models: list[ModelFolder]) -> list[str]:
    return [model.id for model in models]


def change(registry: Path, model_id: str, **changes: Any) -> None:
    path = ModelFolder(registry / "models" / model_id).manifest_path
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_there_may_be_no_champion(tmp_path: Path) -> None:
    assert list_rivals(tmp_path) == []
    assert not was_champion(tmp_path, "m1")


def test_rivals_are_the_last_five_champions(registry: Path) -> None:
    assert names(list_rivals(registry)) == ["m7", "m6", "m5", "m4", "m3"]


def test_another_model_may_be_a_rival(registry: Path) -> None:
    assert names(list_rivals(registry, ["m9"])) == ["m7", "m9", "m6", "m5", "m4", "m3"]
    assert names(list_rivals(registry, ["m7"])) == ["m7", "m6", "m5", "m4", "m3"]
    assert names(list_rivals(registry, ["m4"])) == ["m7", "m4", "m6", "m5", "m3"]


def test_a_champion_that_came_back_counts_once(registry: Path) -> None:
    promote(registry, "m5", "by hand")
    assert names(list_rivals(registry)) == ["m5", "m7", "m6", "m4", "m3"]


def test_models_that_can_not_be_compared_with_are_left_out(registry: Path) -> None:
    change(registry, "m6", format=99)
    ModelFolder(registry / "models" / "m5").manifest_path.unlink()
    assert names(list_rivals(registry)) == ["m7", "m4", "m3"]


def test_a_rolled_back_model_is_no_rival(registry: Path) -> None:
    rollback(registry)
    assert names(list_rivals(registry)) == ["m6", "m5", "m4", "m3", "m2"]
    assert was_champion(registry, "m7")
    assert was_champion(registry, "m5")
    assert not was_champion(registry, "m6")
    assert not was_champion(registry, "m8")


def test_rank_of_the_champion(registry: Path) -> None:
    assert describe_rank(ModelFolder(registry / "models" / "m7"), registry) == "passed: it is the champion"


def test_rank_of_a_refused_model(registry: Path) -> None:
    """Says why, who is champion, and the command that would make it champion."""
    since = json.loads((registry / "champion.json").read_text())["since"]
    assert describe_rank(ModelFolder(registry / "models" / "m9"), registry) == (
        f"not the champion, that is m7 since {since}. m9: floor: too low. To make it champion all the same: "
        f"poster-genres promote m9 --artifacts {registry}"
    )
    promoted = {"allowed": True, "reasons": "floor: high enough"}  # after the run that made it
    change(registry, "m8", gate=promoted)
    assert "m8: floor: high enough. To make" in describe_rank(ModelFolder(registry / "models" / "m8"), registry)
    (registry / "champion.json").unlink()
    assert describe_rank(ModelFolder(registry / "models" / "m9"), registry).startswith(
        "not the champion, there is none. m9: floor"
    )


def test_rank_names_the_setting_that_would_allow_it(registry: Path) -> None:
    checks = [
        {"name": "floor", "passed": True, "found": ""},
        {"name": "lost genres", "passed": False, "found": "", "is_allowed": False},
        {"name": "fewer films", "passed": False, "found": "", "is_allowed": True},
    ]
    change(registry, "m9", gate={"allowed": False, "reasons": "lost genres: War", "checks": checks})
    model = ModelFolder(registry / "models" / "m9")
    assert describe_rank(model, registry).endswith("; or for all runs: --set 'registry.allow=[\"lost genres\"]'")
    every = [{"name": name, "passed": False, "found": ""} for name in GATE_CHECKS]
    change(registry, "m9", gate={"allowed": False, "reasons": "all", "checks": every})
    assert describe_rank(model, registry).endswith(f"registry.allow={json.dumps(list(GATE_CHECKS))}'")
    # A leak is a bug: it can't be allowed.
    checks.append({"name": "leakage between splits", "passed": False, "found": ""})
    change(registry, "m9", gate={"allowed": False, "reasons": "lost genres: War", "checks": checks})
    assert describe_rank(model, registry).endswith(f"promote m9 --artifacts {registry}")


def test_rank_of_a_former_champion(registry: Path) -> None:
    assert "m5: it passed, but has been champion before. To make" in describe_rank(
        ModelFolder(registry / "models" / "m5"), registry
    )
