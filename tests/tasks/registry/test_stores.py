"""Every test of pulling runs against a folder, a real S3-compatible server and a plain HTTP server, all on loopback."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest

from tasks.errors import RegistryError, StoreError
from tasks.model_folder import MANIFEST, ModelFolder
from tasks.registry.models import promote
from tasks.registry.stores import pull_model, push_champion
from tasks.sample.server import serve

Damage = Callable[[str, bytes | None], None]


@pytest.fixture(params=["folder", "http", "s3"])
def remote(request: pytest.FixtureRequest, store: Path) -> Iterator[tuple[str, Damage]]:
    """The address of a store with the models one and two, and a way to alter or remove a file of it."""

    def damage(name: str, content: bytes | None) -> None:
        if content is None:
            (store / name).unlink()
        else:
            (store / name).write_bytes(content)

    if request.param == "folder":
        yield str(store), damage
    elif request.param == "http":
        with serve(store) as base_url:
            yield base_url, damage
    else:
        address = request.getfixturevalue("s3")
        client = boto3.client("s3")
        for path in store.rglob("[!.]*"):
            if path.is_file():
                client.put_object(
                    Bucket="posters", Key=f"genres/{path.relative_to(store).as_posix()}", Body=path.read_bytes()
                )

        def damage_object(name: str, content: bytes | None) -> None:
            if content is None:
                client.delete_object(Bucket="posters", Key=f"genres/{name}")
            else:
                client.put_object(Bucket="posters", Key=f"genres/{name}", Body=content)

        yield address, damage_object


@pytest.mark.parametrize("name", ["one", "champion"])
def test_pull_copies_every_byte(remote: tuple[str, Damage], store: Path, tmp_path: Path, name: str) -> None:
    manifest = pull_model(name, remote[0], tmp_path / "pulled")
    assert manifest["id"] == ("two" if name == "champion" else name)
    source = store / "models" / manifest["id"]
    files = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    assert len(files) == 3
    assert [(tmp_path / "pulled" / file).read_bytes() for file in files] == [
        (source / file).read_bytes() for file in files
    ]
    assert ModelFolder(tmp_path / "pulled").verify() == manifest


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "models/one lacks saved_model/saved_model.pb"),
        (b"one" * 99, "models/one/saved_model/saved_model.pb has 297 bytes, expected 300"),
        (b"x" * 300, "models/one/saved_model/saved_model.pb differs from its manifest"),
    ],
)
def test_damaged_files_are_named_and_nothing_arrives(
    remote: tuple[str, Damage], tmp_path: Path, content: bytes | None, says: str
) -> None:
    address, damage = remote
    damage("models/one/saved_model/saved_model.pb", content)
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


def test_pull_does_not_overwrite(store: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    pull_model("one", str(store), tmp_path / "taken")
    with pytest.raises(RegistryError, match="exists already"):
        pull_model("two", str(store), tmp_path / "taken")
    assert json.loads((tmp_path / "taken" / "manifest.json").read_text())["id"] == "one"


def test_stores_that_are_none(tmp_path: Path, s3: str) -> None:
    with pytest.raises(RegistryError, match=r"nonsense://x is not a supported store"):
        pull_model("one", "nonsense://x", tmp_path / "pulled")
    with serve(tmp_path) as base_url:
        pass
    with pytest.raises(StoreError, match=rf"{base_url}/models/one/manifest\.json can't be read or written: "):
        pull_model("one", base_url, tmp_path / "pulled")
    with pytest.raises(RegistryError, match="there is no model 'one' in s3://nobucket/x"):
        pull_model("one", "s3://nobucket/x", tmp_path / "pulled")


@pytest.fixture(params=["folder", "s3"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store that can be written to."""
    return str(tmp_path / "target") if request.param == "folder" else str(request.getfixturevalue("s3"))


def test_push_brings_the_champion_and_what_is_pushed_can_be_pulled(store: Path, target: str, tmp_path: Path) -> None:
    assert push_champion(store, target)
    assert not push_champion(store, target)
    assert pull_model("champion", target, tmp_path / "a")["id"] == "two"
    with pytest.raises(RegistryError, match="no model 'one'"):
        pull_model("one", target, tmp_path / "b")
    promote(store, "one", "by hand")
    assert push_champion(store, target)
    assert pull_model("champion", target, tmp_path / "b")["id"] == "one"
    assert pull_model("two", target, tmp_path / "c")["id"] == "two"


def test_an_interrupted_push_is_no_model_and_is_completed(store: Path, target: str, tmp_path: Path) -> None:
    push_champion(store, target)
    if target.startswith("s3"):
        boto3.client("s3").delete_object(Bucket="posters", Key=f"genres/models/two/{MANIFEST}")
    else:
        (Path(target) / "models" / "two" / MANIFEST).unlink()
    with pytest.raises(RegistryError, match="no model 'two'"):
        pull_model("two", target, tmp_path / "pulled")
    assert push_champion(store, target)
    assert pull_model("two", target, tmp_path / "pulled")["id"] == "two"


def test_what_can_not_be_pushed(store: Path, tmp_path: Path, s3: str) -> None:
    with pytest.raises(RegistryError, match="there is no champion"):
        push_champion(tmp_path / "empty", str(tmp_path / "target"))
    with serve(tmp_path) as base_url, pytest.raises(StoreError, match=r"labels\.json can't be read or written: 501"):
        push_champion(store, base_url)
    with pytest.raises(StoreError, match=r"s3://nobucket/x/models/two/.* can't be read or written"):
        push_champion(store, "s3://nobucket/x")
    shutil.rmtree(store / "models" / "two" / "saved_model")
    with pytest.raises(RegistryError, match="lacks saved_model/saved_model.pb"):
        push_champion(store, str(tmp_path / "target"))
    assert not (tmp_path / "target").exists()
