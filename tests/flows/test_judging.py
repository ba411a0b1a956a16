"""A known model is judged again when the circumstances of its verdict have changed."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flows.train import Run, train
from tasks.registry.models import promote, read_champion_id, rollback
from tasks.settings import CatalogSettings, RegistrySettings


@pytest.fixture
def artifacts_dir(small_run, tmp_path: Path) -> Path:
    """A copy of the small run's registry, whose model has a twin that only a person would promote."""
    folder = tmp_path / "artifacts"
    shutil.copytree(small_run.artifacts_dir, folder)
    twin = folder / "models" / "20000101-000000-twin"
    shutil.copytree(folder / "models" / small_run.run.model.id, twin)
    change_manifest(twin, id=twin.name, inputs_fingerprint="others")
    return folder


def change_manifest(model: Path, **changes: Any) -> None:
    path = model / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")


def run(small_run, artifacts_dir: Path, **registry: Any) -> Run:
    changes = {
        "artifacts_dir": artifacts_dir,
        "registry": RegistrySettings(**registry),
        "catalog": CatalogSettings(source=str(small_run.data_dir / "site" / "MovieGenre.csv")),
    }
    return train(small_run.settings.model_copy(update=changes))


def test_a_refused_model_is_judged_again(small_run, artifacts_dir: Path) -> None:
    model_id = small_run.run.model.id
    (artifacts_dir / "champion.json").unlink()
    refused = run(small_run, artifacts_dir, min_success_rate=1.0)
    assert (refused.is_new, refused.is_champion) == (False, False)
    assert read_champion_id(artifacts_dir) is None
    assert f"not the champion, there is none. {model_id}: available posters: " in refused.rank
    assert f"poster-genres promote {model_id} --artifacts" in refused.rank
    manifest = refused.model.path / "manifest.json"
    before = manifest.stat().st_mtime_ns

    again = run(small_run, artifacts_dir, min_success_rate=1.0)
    assert again.rank == refused.rank
    assert manifest.stat().st_mtime_ns == before  # nothing has changed: it is not judged again

    allowed = run(small_run, artifacts_dir, min_success_rate=1.0, allow=("available posters",))
    assert (allowed.is_new, allowed.is_champion) == (False, True)
    assert allowed.rank == "passed: it is the champion"
    assert read_champion_id(artifacts_dir) == model_id
    gate = allowed.model.verify()["gate"]
    assert (gate["made_champion"], gate["num_verdicts"]) == (True, 3)


def test_a_new_champion_is_compared_with(small_run, artifacts_dir: Path) -> None:
    """The twin became champion by hand before the known model was judged: they are equal on few films."""
    (artifacts_dir / "champion.json").unlink()
    promote(artifacts_dir, "20000101-000000-twin", "by hand")
    refused = run(small_run, artifacts_dir)
    assert not refused.is_champion
    assert "films to judge by: " in refused.rank
    gate = refused.model.read_manifest()["gate"]
    (comparison,) = gate["comparisons"]
    assert comparison["id"] == "20000101-000000-twin"
    assert comparison["candidate_macro_f1"] == comparison["rival_macro_f1"] > 0.5

    allowed = run(small_run, artifacts_dir, allow=("films to judge by",))
    assert allowed.is_champion


def test_a_model_that_a_person_replaced_does_not_come_back(small_run, artifacts_dir: Path) -> None:
    promote(artifacts_dir, "20000101-000000-twin", "by hand")
    replaced = run(small_run, artifacts_dir, allow=("films to judge by",))
    assert not replaced.is_champion
    assert "it passed, but has been champion before" in replaced.rank
    promote(artifacts_dir, replaced.model.id, "by hand")
    assert rollback(artifacts_dir) == "20000101-000000-twin"
    assert not run(small_run, artifacts_dir, allow=("films to judge by",)).is_champion
