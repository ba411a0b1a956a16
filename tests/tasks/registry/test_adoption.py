import json
import logging
import shutil
from pathlib import Path

import pytest
from small_stores import Damage

from tasks.errors import RegistryError, StoreError
from tasks.model_folder import ModelFolder
from tasks.registry.adoption import adopt_champion
from tasks.registry.models import list_models, promote, read_champion_id, rollback
from tasks.registry.pushing import push_champion
from tasks.sample.server import serve


def test_a_new_machine_takes_over_the_champion_with_its_history(
    remote: tuple[str, Damage], store: Path, tmp_path: Path
) -> None:
    artifacts = tmp_path / "artifacts"
    assert adopt_champion(artifacts, remote[0]) == "two"
    assert (artifacts / "champion.json").read_bytes() == (store / "champion.json").read_bytes()
    assert [model.id for model in list_models(artifacts)] == ["one", "two"]
    assert all(model.verify() for model in list_models(artifacts))
    assert rollback(artifacts) == "one"
    assert sorted(path.name for path in (artifacts / "models").iterdir()) == ["one", "two"]


def test_a_machine_with_a_champion_keeps_it_and_gets_the_store_s(store: Path, tmp_path: Path) -> None:
    artifacts = tmp_path / "artifacts"
    shutil.copytree(store / "models" / "one", artifacts / "models" / "mine")
    ModelFolder(artifacts / "models" / "mine").write_manifest({"id": "mine", "format": 1})
    promote(artifacts, "mine", "first")
    assert adopt_champion(artifacts, str(store)) == "two"
    assert read_champion_id(artifacts) == "mine"
    assert [model.id for model in list_models(artifacts)] == ["mine", "two"]


def test_what_is_here_is_not_pulled_again(store: Path, tmp_path: Path) -> None:
    artifacts = tmp_path / "artifacts"
    adopt_champion(artifacts, str(store))
    (artifacts / "models" / "two" / "labels.json").touch()
    # Its verdict was made anew here: the store's older manifest does not replace it.
    manifest = artifacts / "models" / "two" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "gate": {"allowed": True}}))
    shutil.rmtree(store / "models" / "two" / "saved_model")
    assert adopt_champion(artifacts, str(store)) == "two"
    assert "gate" in json.loads(manifest.read_text())


def test_a_broken_copy_is_pulled_again(store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    artifacts = tmp_path / "artifacts"
    adopt_champion(artifacts, str(store))
    (artifacts / "models" / "two" / "manifest.json").write_text("")
    caplog.set_level(logging.WARNING)
    assert adopt_champion(artifacts, str(store)) == "two"
    assert ModelFolder(artifacts / "models" / "two").verify()["id"] == "two"
    assert "two is pulled again" in caplog.text


def test_an_earlier_champion_that_is_gone_is_only_a_warning(
    store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(store / "models" / "one")
    caplog.set_level(logging.WARNING)
    assert adopt_champion(tmp_path / "artifacts", str(store)) == "two"
    assert "nothing is compared with the earlier champion one: there is no model 'one'" in caplog.text
    shutil.rmtree(store / "models" / "two")
    with pytest.raises(RegistryError, match="there is no model 'two'"):
        adopt_champion(tmp_path / "other", str(store))
    assert read_champion_id(tmp_path / "other") is None


def test_only_the_last_champions_are_pulled(store: Path, tmp_path: Path) -> None:
    entry = {"since": None, "why": "earlier"}
    before = [{"id": f"m{number}", **entry} for number in range(3)] + [{"id": "one", **entry}] * 4
    (store / "champion.json").write_text(json.dumps({"id": "two", "before": before}))
    for number in range(3):
        shutil.copytree(store / "models" / "one", store / "models" / f"m{number}")
        ModelFolder(store / "models" / f"m{number}").write_manifest({"id": f"m{number}"})
    adopt_champion(tmp_path / "artifacts", str(store))
    assert [model.id for model in list_models(tmp_path / "artifacts")] == ["one", "two"]
    assert len(json.loads((tmp_path / "artifacts" / "champion.json").read_text())["before"]) == 7


def test_a_store_without_a_champion_and_one_that_is_gone(tmp_path: Path) -> None:
    assert adopt_champion(tmp_path / "artifacts", str(tmp_path / "empty")) is None
    with serve(tmp_path) as base_url:
        pass
    with pytest.raises(StoreError, match=r"champion\.json can't be read or written") as raised:
        adopt_champion(tmp_path / "artifacts", base_url)
    assert "\n" not in str(raised.value)


def test_a_pointer_that_leads_out_of_the_store_is_refused(store: Path, tmp_path: Path) -> None:
    (store / "champion.json").write_text('{"id": "../../elsewhere"}')
    with pytest.raises(RegistryError, match="does not name a model"):
        adopt_champion(tmp_path / "artifacts", str(store))
    assert not (tmp_path / "artifacts").exists()


def test_what_an_interrupted_pull_left_is_removed(store: Path, tmp_path: Path) -> None:
    artifacts = tmp_path / "artifacts"
    (artifacts / "models" / ".old.pull" / "model").mkdir(parents=True)
    adopt_champion(artifacts, str(store))
    assert sorted(path.name for path in (artifacts / "models").iterdir()) == ["one", "two"]


def test_an_emptied_machine_does_not_push_what_it_did_not_compare(store: Path, tmp_path: Path) -> None:
    """From an emptied folder: the store's champion is this machine's before anything is trained."""
    target = str(tmp_path / "target")
    push_champion(store, target)
    artifacts = tmp_path / "artifacts"
    assert adopt_champion(artifacts, target) == "two"
    assert not push_champion(artifacts, target)
    shutil.copytree(store / "models" / "one", artifacts / "models" / "new")
    ModelFolder(artifacts / "models" / "new").write_manifest({"id": "new", "format": 1})
    promote(artifacts, "new", "passed the gate")
    assert push_champion(artifacts, target)
    assert [entry["id"] for entry in json.loads((Path(target) / "champion.json").read_text())["before"]] == ["two"]
