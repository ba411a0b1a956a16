import json
from pathlib import Path

import pytest
from stubborn_store import serve_stubbornly

from tasks import versions
from tasks.errors import RegistryError, StoreError
from tasks.model_folder import ModelFolder
from tasks.registry.models import promote
from tasks.registry.serving_folder import pull_version


def list_names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_each_model_is_a_version_and_the_last_ones_are_kept(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "serving"
    assert vars(pull_version("champion", str(store), folder)) == {
        "id": "two",
        "version": 1,
        "is_new": True,
        "removed": (),
    }
    assert list_names(folder) == ["1/assets.extra/manifest.json", "1/saved_model.pb"]
    assert (folder / "1" / "saved_model.pb").read_bytes() == b"two" * 100
    assert vars(pull_version("champion", str(store), folder))["is_new"] is False
    # Going back is another version: TensorFlow Serving serves the highest number.
    promote(store, "one", "by hand")
    assert pull_version("champion", str(store), folder).version == 2
    promote(store, "two", "by hand")
    third = pull_version("champion", str(store), folder)
    assert (third.version, third.removed) == (3, (1,))
    assert [path.name for path in sorted(folder.iterdir())] == ["2", "3"]
    assert (folder / "3" / "saved_model.pb").read_bytes() == b"two" * 100
    last = pull_version("one", str(store), folder, keep=1)
    assert (last.version, last.removed) == (4, (2, 3))


def test_versions_of_others_are_counted_and_stay(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "serving"
    for name in ("7", "12", "notes", "013"):
        (folder / name).mkdir(parents=True)
    added = pull_version("one", str(store), folder, keep=1)
    assert (added.version, added.removed) == (13, ())
    assert [path.name for path in sorted(folder.iterdir())] == ["013", "12", "13", "7", "notes"]


def test_assets_of_the_model_stay_beside_the_manifest(store: Path, tmp_path: Path) -> None:
    model = ModelFolder(store / "models" / "one")
    for name in ("assets.extra/tf_serving_warmup_requests", "variables/variables.index"):
        (model.saved_model_path / name).parent.mkdir()
        (model.saved_model_path / name).write_text(name)
    model.write_manifest({"id": "one", "format": versions.MODEL})
    pull_version("one", str(store), tmp_path / "serving")
    assert list_names(tmp_path / "serving" / "1") == [
        "assets.extra/manifest.json",
        "assets.extra/tf_serving_warmup_requests",
        "saved_model.pb",
        "variables/variables.index",
    ]
    manifest = json.loads((tmp_path / "serving" / "1" / "assets.extra" / "manifest.json").read_text())
    assert manifest == model.read_manifest()


def test_a_damaged_version_is_followed_by_a_whole_one(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "serving"
    pull_version("one", str(store), folder)
    (folder / "1" / "saved_model.pb").write_bytes(b"x" * 300)
    assert pull_version("one", str(store), folder).version == 2
    (folder / "2" / "assets.extra" / "manifest.json").write_text("")
    assert pull_version("one", str(store), folder).version == 3


def test_a_model_whose_files_changed_is_another_version(store: Path, tmp_path: Path) -> None:
    """It has the same id, and the SavedModel is the same."""
    folder, model = tmp_path / "serving", ModelFolder(store / "models" / "one")
    pull_version("one", str(store), folder)
    model.report_path.write_text("corrected")
    model.write_manifest({"id": "one", "format": versions.MODEL})
    assert pull_version("one", str(store), folder).version == 2


def test_a_broken_pull_adds_nothing_and_is_resumed(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "serving"
    model = ModelFolder(store / "models" / "one")
    (model.saved_model_path / "a.pb").write_text("a")
    model.write_manifest({"id": "one"})
    with serve_stubbornly(store) as server:
        server.broken.add("saved_model.pb")
        with pytest.raises(StoreError, match=r"what was fetched is kept in .*serving/\.pull"):
            pull_version("one", server.address, folder)
        assert [path.name for path in folder.iterdir()] == [".pull"]
        server.broken.clear()
        server.fetched.clear()
        assert pull_version("one", server.address, folder).version == 1
        # Only the SavedModel is fetched, and of that only the rest.
        assert server.fetched == ["/models/one/manifest.json", "/models/one/saved_model/saved_model.pb"]
    assert [path.name for path in folder.iterdir()] == ["1"]


def test_signatures_are_verified(store: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="it has no signature"):
        pull_version("one", str(store), tmp_path / "serving", key_path=keys[1])
    assert not (tmp_path / "serving").exists()


def test_a_model_without_a_saved_model_is_refused(store: Path, tmp_path: Path) -> None:
    ModelFolder(store / "models" / "one").write_manifest({"id": "one"})
    (store / "models" / "one" / "manifest.json").write_text('{"id": "one", "files": {}}')
    with pytest.raises(RegistryError, match="has no SavedModel that can be served"):
        pull_version("one", str(store), tmp_path / "serving")
