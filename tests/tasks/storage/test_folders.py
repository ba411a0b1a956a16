"""Two machines are two local folders here; the store is a folder, or a real S3-compatible server."""

import json
import logging
import pickle
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import ConflictError, DamagedObjectError, SettingsError, StoreError
from tasks.hashing import describe_file
from tasks.storage.folders import (
    StoredFile,
    StoredFolder,
    fetch_files,
    fetch_stored,
    find_stored,
    list_stored,
    name_object,
    open_stored,
    read_copy,
    remove_stored,
    send_files,
)
from tasks.storage.objects import ObjectStore


@pytest.fixture(params=["folder", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("s3")


def write(folder: Path, **texts: str) -> None:
    """Writes files; `__` stands for the dot, and `_of_` for the slash."""
    for name, text in texts.items():
        path = folder / name.replace("__", ".").replace("_of_", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def read(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def list_files(folder: Path) -> dict[str, None]:
    return dict.fromkeys(read(folder))


def commit_all(folder: StoredFolder) -> bool:
    return folder.commit(list_files(folder.folder))


@pytest.fixture
def one(address: str, tmp_path: Path) -> StoredFolder:
    return StoredFolder(address, tmp_path / "one" / "shards")


@pytest.fixture
def other(address: str, tmp_path: Path) -> StoredFolder:
    return StoredFolder(address, tmp_path / "other" / "shards")


def test_a_folder_gets_to_another_machine(one: StoredFolder, other: StoredFolder, address: str) -> None:
    one.pull()
    write(one.folder, a__bin="first", view_of_b__bin="second", about__json="{}")
    assert commit_all(one)
    assert not commit_all(one)
    other.pull()
    assert read(other.folder) == {"a.bin": "first", "view/b.bin": "second", "about.json": "{}"}
    # The small JSON file is in the manifest; of the others' names the hashes are a part.
    sha256 = describe_file(one.folder / "a.bin")["sha256"]
    assert ObjectStore(address).list_names("shards") == [f"a-{sha256[:16]}.bin", "view"]
    manifest = json.loads(ObjectStore(address).read("shards.json") or b"")
    assert manifest["generation"] == 1
    assert manifest["files"]["about.json"]["text"] == "{}"


def test_only_what_changed_is_sent_and_fetched(
    one: StoredFolder, other: StoredFolder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.pull()
    write(one.folder, same__bin="same", old__bin="old", gone__bin="gone")
    commit_all(one)
    other.pull()
    write(one.folder, old__bin="new")
    (one.folder / "gone.bin").unlink()
    sent: list[str] = []
    send = ObjectStore.send
    monkeypatch.setattr(ObjectStore, "send", lambda self, path, name: [sent.append(path.name), send(self, path, name)])
    commit_all(one)
    assert sent == ["old.bin"]
    caplog.set_level(logging.INFO, "tasks")
    other.pull()
    assert read(other.folder) == {"same.bin": "same", "old.bin": "new"}
    assert "1 files fetched, 1 kept" in caplog.text
    caplog.clear()
    other.pull()
    assert "fetched" not in caplog.text


def test_what_was_not_committed_is_kept_unless_another_machine_committed(
    one: StoredFolder, other: StoredFolder, caplog: pytest.LogCaptureFixture
) -> None:
    one.pull()
    write(one.folder, first__bin="first")
    commit_all(one)
    (one.folder / "first.bin").unlink()
    one.commit({})
    other.pull()
    write(one.folder, interrupted__bin="x")
    one.pull()
    assert read(one.folder) == {"interrupted.bin": "x"}
    write(other.folder, committed__bin="y")
    commit_all(other)
    one.pull()
    assert read(one.folder) == {"committed.bin": "y"}
    assert "1 files that an interrupted run had not committed are removed, interrupted.bin among them" in caplog.text


def test_local_data_that_was_never_in_the_store_is_never_removed(one: StoredFolder, other: StoredFolder) -> None:
    """The first run with the store ended before it committed; another machine's has committed since."""
    write(one.folder, mine__bin="mine")
    one.pull()
    other.pull()
    write(other.folder, other__bin="other")
    commit_all(other)
    with pytest.raises(SettingsError, match="has files, and .*shards has others"):
        one.pull()
    assert read(one.folder) == {"mine.bin": "mine"}


def test_an_interrupted_copy_goes_on(one: StoredFolder, other: StoredFolder) -> None:
    one.pull()
    write(one.folder, a__bin="a", b__bin="b")
    commit_all(one)
    write(other.folder, a__bin="a")  # before the process was killed
    other.pull()
    assert read(other.folder) == {"a.bin": "a", "b.bin": "b"}


def test_files_that_were_removed_here_are_fetched_again(one: StoredFolder) -> None:
    one.pull()
    write(one.folder, a__bin="a", b__bin="b")
    commit_all(one)
    shutil.rmtree(one.folder)
    one.pull(lambda name: name == "a.bin")
    assert read(one.folder) == {"a.bin": "a"}


def test_a_file_that_a_worker_sent_and_that_was_removed_as_garbage_is_sent_again(
    one: StoredFolder, other: StoredFolder
) -> None:
    one.pull()
    write(one.folder, a__bin="a")
    file = StoredFile(**describe_file(one.folder / "a.bin"))
    one.adopt({"a.bin": file, "gone.bin": file})
    assert one.commit({"a.bin": None})
    other.pull()
    assert read(other.folder) == {"a.bin": "a"}
    one.adopt({"gone.bin": file.model_copy(update={"sha256": "1" * 64})})
    with pytest.raises(StoreError, match=r"gone-1+\.bin is missing, which a worker sent: run again"):
        one.commit({"a.bin": None, "gone.bin": None})


def test_files_that_are_here_alone_are_sent_for_workers(one: StoredFolder) -> None:
    one.pull()
    write(one.folder, a__bin="a", about__json="{}")
    one.send_missing(dict.fromkeys(one.list_files()))
    (one.folder / "a.bin").unlink()
    opened = open_stored(one.folder / "a.bin")
    assert not isinstance(opened, Path)
    assert opened.read() == b"a"
    one.send_missing({})


def test_a_stale_commit_is_refused(one: StoredFolder, other: StoredFolder) -> None:
    one.pull()
    other.pull()
    write(one.folder, one__bin="1")
    write(other.folder, other__bin="2")
    commit_all(one)
    with pytest.raises(ConflictError, match=r"shards\.json was changed by another run meanwhile, and nothing was wr"):
        commit_all(other)
    third = StoredFolder(one.address, one.folder.parent.parent / "third" / "shards")
    third.pull()
    assert read(third.folder) == {"one.bin": "1"}


def test_of_two_commits_at_the_same_moment_one_is_refused(one: StoredFolder, other: StoredFolder) -> None:
    """The other's manifest appears between this one's look at the store and its write."""
    one.pull()
    other.pull()
    write(one.folder, one__bin="1")
    write(other.folder, other__bin="2")
    seen = one._read()
    one._read = lambda: seen  # type: ignore[method-assign]
    commit_all(other)
    with pytest.raises(ConflictError, match="was changed by another process meanwhile"):
        commit_all(one)


def test_files_that_are_not_copied_are_read_from_the_store(one: StoredFolder, other: StoredFolder) -> None:
    one.pull()
    write(one.folder, here__bin="here", there__bin="there")
    commit_all(one)
    other.pull(lambda name: name == "here.bin")
    assert read(other.folder) == {"here.bin": "here"}
    assert open_stored(other.folder / "here.bin") == other.folder / "here.bin"
    opened = open_stored(other.folder / "there.bin")
    assert not isinstance(opened, Path)
    assert opened.read() == b"there"
    # A name that neither knows is that of a missing file.
    assert open_stored(other.folder / "none.bin") == other.folder / "none.bin"
    # It stays in the manifest of the next commit, and can leave it.
    write(other.folder, new__bin="new")
    other.commit(dict.fromkeys(["here.bin", "there.bin", "new.bin"]))
    one.pull()
    assert read(one.folder) == {"here.bin": "here", "there.bin": "there", "new.bin": "new"}
    with pytest.raises(StoreError, match=r"none\.bin does not exist, and the store has no such file"):
        other.commit({"none.bin": None})


def test_files_in_folders_of_the_folder_are_read_from_the_store(one: StoredFolder, other: StoredFolder) -> None:
    one.pull()
    write(one.folder, a__bin="a", view_of_b__bin="b", view_of_inner_of_c__bin="c")
    commit_all(one)
    other.pull(lambda _: False)
    view = other.folder / "view"
    assert [list_stored(folder) for folder in (other.folder, view, view / "inner")] == [
        [other.folder / "a.bin"],
        [view / "b.bin"],
        [view / "inner" / "c.bin"],
    ]
    assert list_stored(other.folder.parent) == list_stored(other.folder / "none") == []
    opened = open_stored(view / "inner" / "c.bin")
    assert not isinstance(opened, Path)
    assert opened.read() == b"c"
    file = find_stored(view / "b.bin")
    assert file is not None
    assert file.num_bytes == 1
    fetch_stored(view / "b.bin")
    assert read(other.folder) == {"view/b.bin": "b"}
    assert find_stored(view / "b.bin") is None


def test_what_is_removed_here_leaves_the_store_by_the_next_commit(one: StoredFolder, other: StoredFolder) -> None:
    one.pull()
    write(one.folder, a__bin="a", b__bin="b", view_of_c__bin="c", old_of_d__bin="d")
    commit_all(one)
    other.pull(lambda name: name == "a.bin")
    for name in ("a.bin", "view/c.bin", "none.bin"):
        remove_stored(other.folder / name)
    assert not (other.folder / "a.bin").exists()
    assert open_stored(other.folder / "view" / "c.bin") == other.folder / "view" / "c.bin"
    # The files of a folder that is gone, as that of a network that is no longer used.
    shutil.rmtree(other.folder / "old")
    assert other.list_all_files() == ["b.bin"]
    other.commit(dict.fromkeys(other.list_all_files()))
    one.pull()
    assert read(one.folder) == {"b.bin": "b"}
    # A file of that name that a worker sends later is one of the folder again.
    worker = other.folder.parent.parent / "worker" / "shards"
    write(worker, view_of_c__bin="again")
    remove_stored(other.folder / "b.bin")
    sent = {"view/c.bin": StoredFile(**describe_file(worker / "view" / "c.bin"))}
    send_files(other.store, worker, sent)
    other.adopt(sent)
    assert other.list_all_files() == ["view/c.bin"]


def test_files_that_workers_sent_are_adopted(one: StoredFolder, other: StoredFolder, tmp_path: Path) -> None:
    one.pull()
    worker = tmp_path / "worker" / "shards"
    write(worker, a__bin="of a worker")
    file = StoredFile(**describe_file(worker / "a.bin"))
    send_files(one.store, worker, {"a.bin": file})
    one.adopt({"a.bin": file})
    opened = open_stored(one.folder / "a.bin")
    assert not isinstance(opened, Path)
    assert opened.read() == b"of a worker"
    one.commit({"a.bin": None})
    other.pull()
    assert read(other.folder) == {"a.bin": "of a worker"}
    copy = read_copy(one.folder)
    assert copy is not None
    assert copy.sent == {}


def test_what_workers_sent_is_found_by_one_listing(
    one: StoredFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request for each file took a run of 400,000 posters half a minute."""
    one.pull()
    worker = tmp_path / "worker" / "shards"
    write(worker, a__bin="a", view_of_b__bin="b", c__bin="c")
    files = {name: StoredFile(**describe_file(worker / name)) for name in list_files(worker)}
    send_files(one.store, worker, files)
    one.adopt(files)
    listed: list[str] = []
    list_sizes = ObjectStore.list_sizes
    monkeypatch.setattr(
        ObjectStore, "list_sizes", lambda self, folder: [listed.append(folder), list_sizes(self, folder)][1]
    )
    monkeypatch.setattr(ObjectStore, "find_size", lambda *_: pytest.fail("asked for a file"))
    monkeypatch.setattr(ObjectStore, "send", lambda *_: pytest.fail("sent again"))
    assert one.commit(dict.fromkeys(files))
    assert listed == ["shards"]


def test_local_data_gets_into_an_empty_store_but_is_not_mixed_with_other_data(
    one: StoredFolder, other: StoredFolder
) -> None:
    write(one.folder, local__bin="local")
    write(other.folder, other__bin="other")
    one.pull()
    commit_all(one)
    with pytest.raises(SettingsError, match="has files, and .*shards has others: expected a new data_dir"):
        other.pull()
    assert read(other.folder) == {"other.bin": "other"}


def test_a_copy_belongs_to_one_store(one: StoredFolder, tmp_path: Path) -> None:
    one.pull()
    elsewhere = StoredFolder(str(tmp_path / "elsewhere"), one.folder)
    with pytest.raises(SettingsError, match="is a copy of .*, and the store is .*elsewhere: expected the same store"):
        elsewhere.pull()


def test_damage_in_the_store_is_named(one: StoredFolder, other: StoredFolder) -> None:
    one.pull()
    write(one.folder, a__bin="first")
    commit_all(one)
    (name,) = one.store.list_names("shards")
    one.store.write(f"shards/{name}", b"other")
    with pytest.raises(StoreError, match=f"{name} is damaged .*: expected what was committed"):
        other.pull()
    one.store.remove(f"shards/{name}")
    with pytest.raises(DamagedObjectError, match=f"{name} is missing: expected what was committed; bring") as missing:
        other.pull()
    copied = pickle.loads(pickle.dumps(missing.value))  # as those of workers are
    assert (str(copied), copied.name, copied.problem) == (str(missing.value), "a.bin", "is missing")
    assert not (other.folder / "a.bin").exists()
    one.store.write("shards.json", b'{"version": 2}')
    with pytest.raises(StoreError, match=r"shards\.json is damaged, or of another version"):
        other.pull()


@pytest.mark.parametrize("name", ["../outside.bin", "/outside.bin", "a/../../outside.bin", "", "a\\b.bin"])
def test_a_manifest_that_names_files_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    folder = StoredFolder(str(tmp_path / "store"), tmp_path / "one" / "shards")
    file = {"sha256": "0" * 64, "num_bytes": 1, "text": "x"}
    folder.store.write("shards.json", json.dumps({"generation": 1, "files": {name: file}}).encode())
    with pytest.raises(StoreError, match=r"shards\.json is damaged, or of another version .*is no path in the folder"):
        folder.pull()
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_process_that_is_killed_before_or_after_the_manifest_goes_on(
    one: StoredFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.pull()
    write(one.folder, a__bin="first")

    class KilledError(BaseException):
        pass

    def die(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr("tasks.storage.pointer.Pointer.write", die)
        with pytest.raises(KilledError):
            commit_all(one)
    again = StoredFolder(one.address, one.folder)
    again.pull()
    assert read(one.folder) == {"a.bin": "first"}
    with monkeypatch.context() as patched:
        write_copy = StoredFolder._write_copy
        patched.setattr(
            StoredFolder,
            "_write_copy",
            lambda self, manifest, *rest: die() if manifest.files else write_copy(self, manifest, *rest),
        )
        with pytest.raises(KilledError):
            commit_all(again)
    last = StoredFolder(one.address, one.folder)
    last.pull()
    assert read(one.folder) == {"a.bin": "first"}
    assert not commit_all(last)


def test_garbage_is_what_no_manifest_names(one: StoredFolder) -> None:
    one.pull()
    write(one.folder, a__bin="old", view_of_b__bin="stays")
    commit_all(one)
    one.store.write("shards/left-by-a-worker.bin", b"")
    write(one.folder, a__bin="new")
    commit_all(one)
    assert one.remove_garbage(keep_days=1) == []
    names = one.store.list_names("shards")
    removed = one.remove_garbage(keep_days=-1)
    assert "left-by-a-worker.bin" in removed
    assert len(removed) == 2
    assert one.store.list_names("shards") == sorted(set(names) - set(removed))
    other = StoredFolder(one.address, one.folder.parent.parent / "other" / "shards")
    other.pull()
    assert read(other.folder) == {"a.bin": "new", "view/b.bin": "stays"}


def test_garbage_that_the_store_keeps_is_an_error(one: StoredFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 answers a request for many objects with success, also if it may not remove one of them."""
    one.store.write("shards/left-by-a-worker.bin", b"")
    monkeypatch.setattr(ObjectStore, "remove_all", lambda *_: None)
    with pytest.raises(StoreError, match="1 objects that no manifest names were not removed, left-by-a-worker.bin"):
        one.remove_garbage(keep_days=-1)


def test_files_of_another_kind_stay_here(address: str, tmp_path: Path) -> None:
    one = StoredFolder(address, tmp_path / "one" / "features", "**/*.parquet")
    other = StoredFolder(address, tmp_path / "other" / "features", "**/*.parquet")
    write(one.folder, key_of_a__parquet="features", key_of_joined_of_b__npy="matrix")
    write(other.folder, joined_of_c__npy="other matrix")
    assert one.list_files() == ["key/a.parquet"]
    one.pull()
    one.commit(dict.fromkeys(one.list_files()))
    other.pull()
    assert read(other.folder) == {"key/a.parquet": "features", "joined/c.npy": "other matrix"}


def test_fetched_files_replace_nothing_half_way(one: StoredFolder, tmp_path: Path) -> None:
    one.pull()
    write(one.folder, a__bin="first")
    commit_all(one)
    copy = read_copy(one.folder)
    assert copy is not None
    (name,) = one.store.list_names("shards")
    one.store.write(f"shards/{name}", b"fi")
    write(tmp_path / "target" / "shards", a__bin="before")
    with pytest.raises(StoreError):
        fetch_files(one.store, tmp_path / "target" / "shards", copy.manifest.files)
    assert read(tmp_path / "target" / "shards") == {"a.bin": "before"}


@given(st.text("ab-/.", min_size=1), st.text("0123456789abcdef", min_size=64, max_size=64))
def test_object_names_hold_the_hash_once(stem: str, sha256: str) -> None:
    named = name_object(f"{stem}.bin", sha256)
    assert named == f"{stem}-{sha256[:16]}.bin"
    assert name_object(named, sha256) == named
