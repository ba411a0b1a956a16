"""Every test runs against a folder, a real S3-compatible server or a plain HTTP server, all on loopback."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_stores import Damage, write_keys
from stubborn_store import serve_stubbornly

from tasks.errors import LockedError, RegistryError, StoreError
from tasks.locking import locked
from tasks.model_folder import ModelFolder
from tasks.registry.models import promote
from tasks.registry.pulling import pull_model
from tasks.registry.pushing import push_champion
from tasks.registry.stores import Store
from tasks.sample.server import serve

SAVED_MODEL = "models/one/saved_model/saved_model.pb"


@pytest.mark.parametrize("name", ["one", "champion"])
def test_pull_copies_every_byte(remote: tuple[str, Damage], store: Path, tmp_path: Path, name: str) -> None:
    pulled = pull_model(name, remote[0], tmp_path / "pulled")
    assert pulled.id == pulled.manifest["id"] == ("two" if name == "champion" else name)
    assert (pulled.is_new, pulled.num_fetched) == (True, 2)
    source = store / "models" / pulled.id
    files = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    assert len(files) == 3
    assert [(tmp_path / "pulled" / file).read_bytes() for file in files] == [
        (source / file).read_bytes() for file in files
    ]
    assert ModelFolder(tmp_path / "pulled").verify() == pulled.manifest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pulled", "store"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "models/one lacks saved_model/saved_model.pb"),
        (b"one" * 99, "models/one/saved_model/saved_model.pb: it has 297 bytes, expected 300"),
        (b"x" * 300, "models/one/saved_model/saved_model.pb: it differs from its manifest"),
    ],
)
def test_damaged_files_are_named_and_nothing_arrives(
    remote: tuple[str, Damage], tmp_path: Path, content: bytes | None, says: str
) -> None:
    address, damage = remote
    damage(SAVED_MODEL, content)
    with pytest.raises(RegistryError, match=says):
        pull_model("one", address, tmp_path / "pulled")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_pull_of_what_is_not_there(remote: tuple[str, Damage], tmp_path: Path) -> None:
    address, damage = remote
    with pytest.raises(RegistryError, match=r"there is no model 'three' in .*models/three/manifest\.json"):
        pull_model("three", address, tmp_path / "pulled")
    damage("champion.json", None)
    with pytest.raises(RegistryError, match=r"there is no champion\.json in"):
        pull_model("champion", address, tmp_path / "pulled")
    damage("models/one/manifest.json", b"<html>sign in</html>")
    with pytest.raises(RegistryError, match="is not a manifest of a model"):
        pull_model("one", address, tmp_path / "pulled")


def test_a_manifest_of_another_model_is_refused(remote: tuple[str, Damage], store: Path, tmp_path: Path) -> None:
    address, damage = remote
    damage("models/one/manifest.json", (store / "models" / "two" / "manifest.json").read_bytes())
    with pytest.raises(RegistryError, match=r"refused .*models/one: its manifest is of model 'two'"):
        pull_model("one", address, tmp_path / "pulled")


def test_sizes_are_compared_before_a_file_is_fetched(
    remote: tuple[str, Damage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, damage = remote
    damage(SAVED_MODEL, b"one" * 10**6)
    monkeypatch.setattr(Store, "fetch", lambda *_: pytest.fail("fetched"))
    with pytest.raises(RegistryError, match="it has 3,000,000 bytes, expected 300"):
        pull_model("one", address, tmp_path / "pulled")


def test_an_answer_without_size_or_end_is_cut_off(store: Path, tmp_path: Path) -> None:
    with serve_stubbornly(store) as server:
        server.endless.add("saved_model.pb")
        with pytest.raises(RegistryError, match=r"saved_model\.pb: it has more bytes than the 300 expected"):
            pull_model("one", server.address, tmp_path / "pulled")
    assert server.num_sent < 2**27  # a few blocks, and what the sockets hold
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@given(name=st.text())
def test_ids_from_outside_do_not_leave_the_store(store_for_all: Path, name: str) -> None:
    with pytest.raises(RegistryError):
        pull_model(name, str(store_for_all), store_for_all.parent / "pulled")
    assert [path.name for path in store_for_all.parent.iterdir()] == ["store"]


@pytest.mark.parametrize("name", ["../models/one", "one/../one", "/one", ".three.1234.partial"])
def test_paths_are_no_ids(store: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(RegistryError, match="is not the id of a model"):
        pull_model(name, str(store), tmp_path / "pulled")


def test_pulling_again_changes_nothing_or_replaces_the_model(remote: tuple[str, Damage], tmp_path: Path) -> None:
    address, _ = remote
    folder = tmp_path / "pulled"
    pull_model("one", address, folder)
    inode = (folder / "labels.json").stat().st_ino
    again = pull_model("one", address, folder)
    assert (again.id, again.is_new, again.num_fetched) == ("one", False, 0)
    assert (folder / "labels.json").stat().st_ino == inode
    assert pull_model("champion", address, folder).is_new
    assert ModelFolder(folder).verify()["id"] == "two"
    # A damaged copy is replaced, too.
    (folder / "labels.json").write_text('["Crime"]')
    assert pull_model("two", address, folder).is_new
    assert ModelFolder(folder).verify()["id"] == "two"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pulled", "store"]


def test_what_is_no_model_is_not_replaced(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "taken"
    folder.mkdir()
    (folder / "notes.txt").touch()
    with pytest.raises(RegistryError, match="taken exists already, and is no model: expected a folder that is new"):
        pull_model("one", str(store), folder)
    (folder / "notes.txt").unlink()
    pull_model("one", str(store), folder)
    (folder / "saved_model" / "notes.txt").touch()
    with pytest.raises(RegistryError, match="taken has saved_model/notes.txt, which is no file of the model there"):
        pull_model("two", str(store), folder)
    assert json.loads((folder / "manifest.json").read_text())["id"] == "one"
    with pytest.raises(RegistryError, match="exists already"):
        pull_model("two", str(store), folder / "labels.json")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges two folders")
def test_a_reader_finds_one_whole_model_at_every_moment(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pulled"
    pull_model("one", str(store), folder)
    seen: set[tuple[bytes, ...]] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            opened = os.open(folder, os.O_RDONLY)  # the folder that is there now, whatever is renamed
            try:
                names = ("manifest.json", "saved_model/saved_model.pb")
                files = [os.open(name, os.O_RDONLY, dir_fd=opened) for name in names]
            except FileNotFoundError:
                continue  # it was the old one, and is being removed
            finally:
                os.close(opened)
            seen.add(tuple(os.read(file, 10_000) for file in files))
            for file in files:
                os.close(file)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(15):
        for name in ("two", "one"):
            assert pull_model(name, str(store), folder).is_new
    done.set()
    reader.join()
    models = [store / "models" / name for name in ("one", "two")]
    assert seen == {
        ((model / "manifest.json").read_bytes(), (model / "saved_model" / "saved_model.pb").read_bytes())
        for model in models
    }


def test_a_broken_pull_is_resumed(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pulled"
    pull_model("two", str(store), folder)
    with serve_stubbornly(store) as server:
        server.broken.add("saved_model.pb")
        with pytest.raises(StoreError, match=r"Run it again: what was fetched is kept in .*/\.pulled\.pull"):
            pull_model("one", server.address, folder)
        assert ModelFolder(folder).verify()["id"] == "two"
        assert "/models/one/labels.json" in server.fetched
        server.broken.clear()
        server.fetched.clear()
        pulled = pull_model("one", server.address, folder)
        assert (pulled.is_new, pulled.num_fetched) == (True, 1)
        assert server.fetched == ["/models/one/manifest.json", f"/{SAVED_MODEL}"]
    assert ModelFolder(folder).verify()["id"] == "one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pulled", "store"]


def test_what_others_write_beside_a_model_is_left_alone(store: Path, tmp_path: Path) -> None:
    (tmp_path / ".pulled.7.partial").touch()  # of a killed pull by an earlier version
    (tmp_path / ".other.7.partial").touch()
    pull_model("one", str(store), tmp_path / "pulled")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.7.partial", "pulled", "store"]


def test_what_an_interrupted_pull_of_another_model_left_is_removed(store: Path, tmp_path: Path) -> None:
    (store / "models" / "one" / "only.txt").write_text("of one")
    ModelFolder(store / "models" / "one").write_manifest({"id": "one"})
    with serve_stubbornly(store) as server:
        server.broken.add("one/saved_model/saved_model.pb")
        with pytest.raises(StoreError):
            pull_model("one", server.address, tmp_path / "pulled")
        assert (tmp_path / ".pulled.pull" / "model" / "only.txt").exists()
        assert pull_model("two", server.address, tmp_path / "pulled").num_fetched == 1  # the labels are the same
    assert not (tmp_path / "pulled" / "only.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pulled", "store"]


KILLED = """
import os, signal, sys, pathlib
from tasks.registry import pulling
def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)
pulling.replace_folder = kill
pulling.pull_model("one", sys.argv[1], pathlib.Path(sys.argv[2]))
"""


def test_a_killed_pull_is_resumed(store: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(store), str(tmp_path / "pulled")]
    assert subprocess.run(command, check=False, timeout=60).returncode == -9
    assert not (tmp_path / "pulled").exists()
    pulled = pull_model("one", str(store), tmp_path / "pulled")
    assert (pulled.is_new, pulled.num_fetched) == (True, 0)
    assert ModelFolder(tmp_path / "pulled").verify()["id"] == "one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pulled", "store"]


def test_two_pulls_into_one_folder(store: Path, tmp_path: Path) -> None:
    another = locked(tmp_path / ".pulled.pull", "another pull")
    with another, pytest.raises(LockedError, match="in use by another pull"):
        pull_model("one", str(store), tmp_path / "pulled")
    assert pull_model("one", str(store), tmp_path / "pulled").is_new


def test_a_signature_is_verified_before_a_file_is_fetched(
    store: Path, folder_target: str, keys: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = keys
    push_champion(store, folder_target)
    with monkeypatch.context() as patched:
        patched.setattr(Store, "find_size", lambda *_: pytest.fail("asked for a file"))
        with pytest.raises(RegistryError, match=r"models/two: it has no signature, manifest\.json\.sig \(push --sign"):
            pull_model("champion", folder_target, tmp_path / "pulled", public)
    assert push_champion(store, folder_target, sign_with=private)
    assert not push_champion(store, folder_target, sign_with=private)
    _, other = write_keys(tmp_path / "other")
    with monkeypatch.context() as patched:
        patched.setattr(Store, "find_size", lambda *_: pytest.fail("asked for a file"))
        with pytest.raises(RegistryError, match=r"models/two: its signature is not that of .*public\.pem"):
            pull_model("champion", folder_target, tmp_path / "pulled", other)
    assert pull_model("champion", folder_target, tmp_path / "pulled", public).is_new
    assert not pull_model("champion", folder_target, tmp_path / "pulled", public).is_new
    assert pull_model("champion", folder_target, tmp_path / "unverified").is_new


def test_an_altered_manifest_has_no_valid_signature(store: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    private, public = keys
    push_champion(store, str(tmp_path / "target"), sign_with=private)
    path = tmp_path / "target" / "models" / "two" / "manifest.json"
    path.write_bytes(path.read_bytes() + b" ")
    assert pull_model("two", str(tmp_path / "target"), tmp_path / "a").is_new
    with pytest.raises(RegistryError, match="The model was altered, or signed by another"):
        pull_model("two", str(tmp_path / "target"), tmp_path / "b", public)


def test_stores_that_are_none(tmp_path: Path, s3: str) -> None:
    with pytest.raises(RegistryError, match=r"nonsense://x is not a supported store"):
        pull_model("one", "nonsense://x", tmp_path / "pulled")
    with serve(tmp_path) as base_url:
        pass
    with pytest.raises(StoreError, match=rf"{base_url}/models/one/manifest\.json can't be read or written: "):
        pull_model("one", base_url, tmp_path / "pulled")
    with pytest.raises(RegistryError, match="there is no model 'one' in s3://nobucket/x"):
        pull_model("one", "s3://nobucket/x", tmp_path / "pulled")


def test_the_champion_of_a_folder_that_changes_is_followed(store: Path, tmp_path: Path) -> None:
    assert pull_model("champion", str(store), tmp_path / "pulled").id == "two"
    promote(store, "one", "by hand")
    assert pull_model("champion", str(store), tmp_path / "pulled").id == "one"
