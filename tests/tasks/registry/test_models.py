import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import versions
from tasks.errors import LockedError, RegistryError
from tasks.locking import locked
from tasks.model_folder import ModelFolder
from tasks.registry import models
from tasks.registry.champion_file import parse_champion
from tasks.registry.models import (
    describe_format_mismatch,
    find_champion,
    find_model,
    list_models,
    promote,
    publication,
    rank_models,
    read_champion_id,
    recover,
    rollback,
    take_over,
)


def test_models_are_listed(store: Path) -> None:
    assert [model.id for model in list_models(store)] == ["one", "two"]
    assert list_models(store / "none") == []


def test_the_champion_ranks_first_then_the_newest(store: Path) -> None:
    add_model(store, "zero", None)
    assert [model.id for model in rank_models(store)] == ["two", "zero", "one"]
    promote(store, "one", "by hand")
    assert [model.id for model in rank_models(store)] == ["one", "zero", "two"]
    (store / "champion.json").unlink()
    assert [model.id for model in rank_models(store)] == ["zero", "two", "one"]


def test_models_are_found_by_id_by_rank_and_by_folder(store: Path) -> None:
    assert find_model("one", store).id == "one"
    assert find_model("champion", store).id == "two"
    assert find_model(str(store / "models" / "one"), Path("elsewhere")).id == "one"


def test_models_that_are_not_there(store: Path, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"no model 'three'.*\(one, two\)"):
        find_model("three", store)
    with pytest.raises(RegistryError, match="no champion in"):
        find_model("champion", tmp_path / "empty")


def test_after_the_demo_alone_its_model_is_pointed_to(store: Path, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"\(poster-genres run\)$"):
        find_model("champion", tmp_path / "artifacts")
    (tmp_path / "artifacts").mkdir()
    store.rename(tmp_path / "artifacts" / "sample")
    with pytest.raises(RegistryError, match=r"or use that of the demo: --artifacts \S+/artifacts/sample$"):
        find_model("champion", tmp_path / "artifacts")


def add_model(store: Path, name: str, why: str | None) -> None:
    with publication(store, name, why) as model:
        model.labels_path.write_text("[]")
        model.write_manifest({"id": name, "format": versions.MODEL})


def test_promotions_are_remembered_and_rolled_back_one_by_one(store: Path) -> None:
    add_model(store, "four", "best")
    assert read_champion_id(store) == "four"
    champion = json.loads((store / "champion.json").read_text())
    assert [(before["id"], before["why"]) for before in champion["before"]] == [("one", "first"), ("two", "better")]
    assert rollback(store) == "two"
    assert json.loads((store / "champion.json").read_text())["why"] == "rolled back from four"
    assert rollback(store) == "one"
    with pytest.raises(RegistryError, match="has had no champion before one"):
        rollback(store)
    promote(store, "four", "by hand")
    assert rollback(store) == "one"


def test_promoting_the_champion_changes_nothing(store: Path) -> None:
    before = (store / "champion.json").read_bytes()
    promote(store, "two", "again")
    assert (store / "champion.json").read_bytes() == before


def test_no_model_or_a_damaged_one_is_not_promoted(store: Path, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"no model 'three'.*\(one, two\)"):
        promote(store, "three", "by hand")
    (store / "models" / "one" / "labels.json").write_text("[1]")
    with pytest.raises(RegistryError, match=r"labels\.json is damaged \(3 bytes, expected 9\)"):
        promote(store, "one", "by hand")
    with pytest.raises(RegistryError, match=r"labels\.json is damaged"):
        rollback(store)
    with pytest.raises(RegistryError, match="there is no champion"):
        rollback(tmp_path / "empty")
    assert read_champion_id(store) == "two"


def test_a_model_that_did_not_pass_is_published_and_not_promoted(store: Path) -> None:
    add_model(store, "four", None)
    assert [model.id for model in list_models(store)] == ["four", "one", "two"]
    assert read_champion_id(store) == "two"


KILLED = """
import os, signal, sys, pathlib
from tasks.registry.models import publication
store, target = pathlib.Path(sys.argv[1]), sys.argv[2]
def watch(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith(target):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
with publication(store, "four", "best") as model:
    model.labels_path.write_text("[]")
    model.write_manifest({"id": "four"})
"""


@pytest.mark.parametrize(("target", "champion"), [("models/four", "two"), ("champion.json", "four")])
def test_a_killed_publication_is_cleared_away_or_completed(store: Path, target: str, champion: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(store), target], check=False, timeout=60)
    assert done.returncode == -9
    assert read_champion_id(store) == "two"
    (store / ".other.7.partial").touch()
    recover(store)
    (store / ".other.7.partial").unlink()  # what others write is left alone
    assert read_champion_id(store) == champion
    assert (store / "models" / "four").exists() == (champion == "four")
    assert not list(store.rglob("*.partial"))
    # Once: what is rolled back afterwards stays so.
    if champion == "four":
        rollback(store)
        recover(store)
        assert read_champion_id(store) == "two"


def test_a_change_waits_for_the_registry(store: Path, hold_lock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "LOCK_SECONDS", 0.1)
    with hold_lock(store, "a publication"), pytest.raises(LockedError, match="in use by a publication"):
        promote(store, "one", "by hand")
    with locked(store, "me"):
        assert read_champion_id(store) == "two"


def test_a_champion_of_another_format_is_described(store: Path, tmp_path: Path) -> None:
    assert find_champion(tmp_path / "nothing") is None
    champion = find_champion(store)
    assert champion is not None
    assert champion.id == "two"
    assert describe_format_mismatch(champion) is None
    champion.write_manifest({"id": "two"})
    expected = f"two is of format None, and this version compares with format {versions.MODEL}"
    assert describe_format_mismatch(champion) == expected


@pytest.mark.parametrize(
    "content",
    [b"", b"no json", b"[]", b"{}", b'{"id": "one"}', b'{"id": 1, "files": {}}', b'{"id": "two", "files": {}}'],
)
def test_a_manifest_that_is_none_is_left_out_with_one_warning(
    store: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = store / "models" / "one" / "manifest.json"
    path.write_bytes(content)
    assert [model.id for model in list_models(store)] == ["two"]
    (message,) = caplog.messages
    assert message.startswith(f"registry: one is left out: {path} is ")
    assert find_champion(store) == ModelFolder(store / "models" / "two")


@pytest.mark.parametrize("damage", ["empty", "gone", "of another"])
def test_a_champion_that_can_not_be_used_is_one_line_with_the_remedy(store: Path, damage: str) -> None:
    path = store / "models" / "two" / "manifest.json"
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "empty" else (store / "models" / "one" / "manifest.json").read_bytes())
    for find in (lambda: find_champion(store), lambda: find_model("champion", store)):
        with pytest.raises(RegistryError) as raised:
            find()
        assert str(raised.value).startswith(f"the champion of {store} can't be used: {path}")
        assert "poster-genres pull two --from a store that has it" in str(raised.value)
        assert "\n" not in str(raised.value)
    promote(store, "one", "by hand")
    assert read_champion_id(store) == "one"
    with pytest.raises(RegistryError):
        rollback(store)


def test_only_models_of_this_registry_and_format_are_promoted(store: Path) -> None:
    before = (store / "champion.json").read_bytes()
    for name in ("../models/one", str(store / "models" / "one"), "one/../one", "", ".", ".three.1234.partial"):
        with pytest.raises(RegistryError, match="is not the id of a model"):
            promote(store, name, "by hand")
    (store / "models" / "one").rename(store / "models" / "renamed")
    with pytest.raises(RegistryError, match="is of model 'one': expected the name of its folder"):
        promote(store, "renamed", "by hand")
    ModelFolder(store / "models" / "renamed").write_manifest({"id": "renamed", "format": 999})
    with pytest.raises(RegistryError, match="renamed is of format 999, and this version compares with format"):
        promote(store, "renamed", "by hand")
    assert (store / "champion.json").read_bytes() == before


@given(name=st.text())
def test_no_other_text_is_promoted(store_for_all: Path, name: str) -> None:
    with pytest.raises(RegistryError):
        promote(store_for_all, name, "by hand")
    assert read_champion_id(store_for_all) == "two"


def test_a_pointer_that_names_no_model_is_replaced_by_hand(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    (store / "champion.json").write_text('{"id": "../models/one", "before": []}')
    with pytest.raises(RegistryError, match=r"champion\.json does not name a model"):
        find_champion(store)
    promote(store, "one", "by hand")
    assert read_champion_id(store) == "one"
    assert "the history of champions begins anew" in caplog.text


def test_the_champion_of_a_store_is_taken_over_only_where_there_is_none(store: Path) -> None:
    champion = parse_champion((store / "champion.json").read_bytes(), "here")
    take_over(store, {**champion, "id": "one"})
    assert read_champion_id(store) == "two"
    (store / "champion.json").unlink()
    take_over(store, champion)
    assert json.loads((store / "champion.json").read_text()) == champion
    assert rollback(store) == "one"
