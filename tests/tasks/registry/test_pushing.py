"""Pushes against a folder and a real S3-compatible server on loopback."""

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
from small_stores import make_store

from tasks import versions
from tasks.errors import ConflictError, RefusedError, RegistryError, StoreError
from tasks.model_folder import MANIFEST, ModelFolder
from tasks.registry.models import promote
from tasks.registry.pulling import pull_model
from tasks.registry.pushing import push_champion, roll_back_store
from tasks.registry.stores import Store
from tasks.sample.server import serve


def make_registry(folder: Path, model_id: str, gate: dict[str, Any] | None = None) -> Path:
    """Makes the registry of a machine whose only model is the champion, as after its `artifacts_dir` was emptied."""
    model = ModelFolder(folder / "models" / model_id)
    model.path.mkdir(parents=True)
    model.labels_path.write_text(f'["{model_id}"]')
    model.write_manifest({"id": model_id, "format": versions.MODEL, **({"gate": gate} if gate else {})})
    promote(folder, model_id, "first")
    return folder


def list_history(address: str) -> list[str]:
    """Returns the ids of a store's champions, the present one last."""
    champion = Store(address).read_champion()
    assert champion is not None
    return [*(entry["id"] for entry in champion["before"]), champion["id"]]


def test_push_brings_the_champion_and_what_is_pushed_can_be_pulled(store: Path, target: str, tmp_path: Path) -> None:
    assert push_champion(store, target)
    assert not push_champion(store, target)
    assert pull_model("champion", target, tmp_path / "a").id == "two"
    with pytest.raises(RegistryError, match="no model 'one'"):
        pull_model("one", target, tmp_path / "b")
    promote(store, "one", "by hand")
    assert push_champion(store, target)
    assert pull_model("champion", target, tmp_path / "b").id == "one"
    assert pull_model("two", target, tmp_path / "c").id == "two"
    assert list_history(target) == ["two", "one"]


def test_an_interrupted_push_is_no_model_and_is_completed(store: Path, target: str, tmp_path: Path) -> None:
    push_champion(store, target)
    if target.startswith("s3"):
        boto3.client("s3").delete_object(Bucket="posters", Key=f"genres/models/two/{MANIFEST}")
    else:
        (Path(target) / "models" / "two" / MANIFEST).unlink()
    with pytest.raises(RegistryError, match="no model 'two'"):
        pull_model("two", target, tmp_path / "pulled")
    assert push_champion(store, target)
    assert pull_model("two", target, tmp_path / "pulled").id == "two"


@pytest.mark.parametrize(
    ("gate", "problem"),
    [
        (None, "was not compared with"),
        ({"allowed": True}, "was not compared with"),
        ({"allowed": True, "rivals": ["one"]}, "was not compared with"),
        ({"allowed": True, "rivals": "two"}, "was not compared with"),
        ({"allowed": False, "rivals": ["two"]}, "did not pass the gate against"),
    ],
)
def test_a_machine_that_does_not_know_the_champion_does_not_replace_it(
    store: Path, folder_target: str, tmp_path: Path, gate: dict[str, Any] | None, problem: str
) -> None:
    push_champion(store, folder_target)
    emptied = make_registry(tmp_path / "emptied", "new", gate)
    with pytest.raises(RefusedError) as raised:
        push_champion(emptied, folder_target)
    assert str(raised.value) == (
        f"not pushed: new {problem} two, the champion of {folder_target}. poster-genres run --publish-to "
        f"{folder_target} makes a model that is; poster-genres push --unjudged replaces the champion all the same"
    )
    assert list_history(folder_target) == ["two"]
    with pytest.raises(RegistryError, match="no model 'new'"):
        pull_model("new", folder_target, tmp_path / "pulled")
    assert push_champion(emptied, folder_target, unjudged=True)
    assert list_history(folder_target) == ["two", "new"]


def test_a_model_that_passed_against_the_champion_replaces_it(store: Path, target: str, tmp_path: Path) -> None:
    push_champion(store, target)
    better = make_registry(tmp_path / "better", "new", {"allowed": True, "rivals": ["one", "two"]})
    assert push_champion(better, target)
    assert list_history(target) == ["two", "new"]
    champion = Store(target).read_champion()
    assert champion == {
        **json.loads((better / "champion.json").read_text()),
        "before": [{name: json.loads((store / "champion.json").read_text())[name] for name in ("id", "since", "why")}],
    }


def test_a_champion_that_the_machine_had_before_is_replaced(store: Path, folder_target: str, tmp_path: Path) -> None:
    promote(store, "one", "by hand")
    push_champion(store, folder_target)
    promote(store, "two", "by hand")
    assert push_champion(store, folder_target)  # its manifest has no gate at all: a person promoted it
    assert list_history(folder_target) == ["one", "two"]


def test_a_store_is_rolled_back_one_by_one(store: Path, folder_target: str, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"there is no champion\.json in .*: nothing to roll back"):
        roll_back_store(folder_target)
    promote(store, "one", "by hand")
    push_champion(store, folder_target)
    with pytest.raises(RegistryError, match="has had no champion before one: nothing to roll back"):
        roll_back_store(folder_target)
    promote(store, "two", "by hand")
    push_champion(store, folder_target)
    assert roll_back_store(folder_target) == "one"
    assert list_history(folder_target) == ["one"]
    assert pull_model("champion", folder_target, tmp_path / "pulled").id == "one"


def test_a_store_is_not_rolled_back_to_a_model_that_is_gone(store: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    promote(store, "one", "by hand")
    push_champion(store, str(target))
    promote(store, "two", "by hand")
    push_champion(store, str(target))
    before = (target / "champion.json").read_bytes()
    shutil.rmtree(target / "models" / "one")
    with pytest.raises(RegistryError, match="there is no model 'one'"):
        roll_back_store(str(target))
    assert (target / "champion.json").read_bytes() == before


def test_a_new_verdict_is_sent_without_the_files(
    store: Path, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_champion(store, target)
    model = ModelFolder(store / "models" / "two")
    model.write_manifest({"id": "two", "format": versions.MODEL, "gate": {"allowed": True}})
    sent: list[str] = []
    send = Store.send
    monkeypatch.setattr(Store, "send", lambda self, model, names: send(self, model, sent.extend(names) or sent))
    assert push_champion(store, target)
    assert sent == [MANIFEST]
    assert pull_model("two", target, tmp_path / "pulled").manifest["gate"] == {"allowed": True}
    assert not push_champion(store, target)
    assert list_history(target) == ["two"]


def test_a_new_verdict_does_not_break_a_signature(
    store: Path, folder_target: str, keys: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    private, public = keys
    push_champion(store, folder_target, sign_with=private)
    model = ModelFolder(store / "models" / "two")
    model.write_manifest({"id": "two", "format": versions.MODEL, "gate": {"allowed": True}})
    caplog.set_level(logging.WARNING)
    assert not push_champion(store, folder_target)
    assert "models/two stays as it was signed, without its new verdict: give the key" in caplog.text
    assert "gate" not in pull_model("two", folder_target, tmp_path / "pulled", public).manifest
    assert push_champion(store, folder_target, sign_with=private)
    assert pull_model("two", folder_target, tmp_path / "pulled", public).manifest["gate"] == {"allowed": True}


PUSHING = """
import pathlib, sys
from tasks.errors import PosterGenresError
from tasks.registry import pushing
check = pushing._check_judged
def wait(*arguments):
    check(*arguments)
    print("judged", flush=True)
    sys.stdin.readline()
pushing._check_judged = wait
try:
    pushing.push_champion(pathlib.Path(sys.argv[1]), sys.argv[2])
except PosterGenresError as error:
    print(type(error).__name__, error)
"""


def test_of_two_machines_that_push_at_once_one_wins(store: Path, target: str, tmp_path: Path) -> None:
    push_champion(store, target)
    gate = {"allowed": True, "rivals": ["two"]}
    slow, fast = (make_registry(tmp_path / name, name, gate) for name in ("slow", "fast"))
    command = [sys.executable, "-c", PUSHING, str(slow), target]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "judged\n"
        assert push_champion(fast, target)
        output, _ = process.communicate("\n", timeout=60)
    assert output.startswith("ConflictError ")
    assert "champion.json was changed by another process meanwhile, and nothing was written: run the" in output
    assert list_history(target) == ["two", "fast"]
    # Run again, it is judged against the champion that is there now.
    with pytest.raises(RefusedError, match="not pushed: slow was not compared with fast"):
        push_champion(slow, target)
    assert push_champion(slow, target, unjudged=True)
    assert list_history(target) == ["two", "fast", "slow"]


def test_a_first_champion_that_another_machine_pushed_meanwhile_stays(folder_target: str, tmp_path: Path) -> None:
    mine = make_registry(tmp_path / "mine", "mine")
    pointer = Store(folder_target).pointer
    version = pointer.read()
    push_champion(mine, folder_target)
    with pytest.raises(ConflictError):
        pointer.write(b'{"id": "other"}', version)
    assert list_history(folder_target) == ["mine"]


def test_what_can_not_be_pushed(store: Path, tmp_path: Path, s3: str) -> None:
    with pytest.raises(RegistryError, match="there is no champion"):
        push_champion(tmp_path / "empty", str(tmp_path / "target"))
    with pytest.raises(RegistryError, match="is not an Ed25519 private key"):
        push_champion(store, str(tmp_path / "target"), sign_with=store / "champion.json")
    other = make_store(tmp_path / "other")
    with serve(tmp_path / "empty") as base_url, pytest.raises(StoreError, match=r"can't be read or written: 501"):
        push_champion(other, base_url)
    with pytest.raises(StoreError, match=r"s3://nobucket/x/models/two/.* can't be read or written"):
        push_champion(store, "s3://nobucket/x")
    shutil.rmtree(store / "models" / "two" / "saved_model")
    with pytest.raises(RegistryError, match="saved_model/saved_model.pb is missing"):
        push_champion(store, str(tmp_path / "target"))
    assert not (tmp_path / "target").exists()
