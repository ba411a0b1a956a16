import json
from pathlib import Path

import pytest

from tasks.errors import RegistryError
from tasks.registry.manifest import check_files, parse_manifest, write_manifest
from tasks.registry.store import find_model, list_models, name_champion, pull_model


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with the models one and two; the second is the champion."""
    store = tmp_path / "store"
    for name in ("one", "two"):
        folder = store / "models" / name
        (folder / "saved_model").mkdir(parents=True)
        (folder / "saved_model" / "saved_model.pb").write_bytes(name.encode() * 100)
        (folder / "labels.json").write_text('["Drama"]')
        write_manifest(folder, {"id": name})
    (store / "models" / ".three.1234.partial").mkdir()
    name_champion(store, "two")
    return store


def test_models_are_listed(store: Path) -> None:
    assert [(model.id, model.is_champion) for model in list_models(store)] == [("one", False), ("two", True)]
    assert list_models(store / "none") == []


def test_models_are_found_by_id_by_rank_and_by_folder(store: Path) -> None:
    assert find_model("one", store).name == "one"
    assert find_model("champion", store).name == "two"
    assert find_model(str(store / "models" / "one"), Path("elsewhere")).name == "one"


def test_models_that_are_not_there(store: Path, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"no model 'three'.*\(one, two\)"):
        find_model("three", store)
    with pytest.raises(RegistryError, match="no champion in"):
        find_model("champion", tmp_path / "empty")


@pytest.mark.parametrize("name", ["one", "champion"])
def test_pull_copies_every_byte(store: Path, tmp_path: Path, name: str) -> None:
    manifest = pull_model(name, str(store), tmp_path / "pulled")
    source = store / "models" / manifest["id"]
    files = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    assert len(files) == 3
    assert [(tmp_path / "pulled" / file).read_bytes() for file in files] == [
        (source / file).read_bytes() for file in files
    ]
    check_files(tmp_path / "pulled", manifest)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda file: file.unlink(), "lacks saved_model/saved_model.pb"),
        (
            lambda file: file.write_bytes(file.read_bytes()[:-1]),
            "saved_model/saved_model.pb has 299 bytes, expected 300",
        ),
        (lambda file: file.write_bytes(b"x" * 300), "saved_model/saved_model.pb is not what its manifest says"),
    ],
)
def test_damaged_files_are_named_and_nothing_arrives(store: Path, tmp_path: Path, damage, says: str) -> None:
    damage(store / "models" / "one" / "saved_model" / "saved_model.pb")
    with pytest.raises(RegistryError, match=says):
        pull_model("one", str(store), tmp_path / "pulled")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_pull_does_not_overwrite(store: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    pull_model("one", str(store), tmp_path / "taken")
    with pytest.raises(RegistryError, match="is there already"):
        pull_model("two", str(store), tmp_path / "taken")
    assert json.loads((tmp_path / "taken" / "manifest.json").read_text())["id"] == "one"


def test_pull_from_where_nothing_is(store: Path, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="there is no .*none/champion.json"):
        pull_model("champion", str(tmp_path / "none"), tmp_path / "pulled")
    with pytest.raises(RegistryError, match="there is no .*models/three/manifest.json"):
        pull_model("three", str(store), tmp_path / "pulled")


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[]",
        '{"files": {"a": {}}}',
        '{"files": {"../a": {"sha256": "0", "num_bytes": 1}}}',
        '{"files": {"/etc/a": {"sha256": "0", "num_bytes": 1}}}',
    ],
)
def test_manifests_that_are_none(text: str) -> None:
    with pytest.raises(RegistryError, match="here is no manifest"):
        parse_manifest(text, "here")
