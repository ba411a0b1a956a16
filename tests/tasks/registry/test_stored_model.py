from pathlib import Path

import pytest

from tasks.errors import RegistryError
from tasks.registry.stored_model import find_stored_model, keep_only
from tasks.registry.stores import Store

NAME = "saved_model/saved_model.pb"


def test_a_file_that_became_shorter_after_its_size_was_checked(store: Path, tmp_path: Path) -> None:
    stored = find_stored_model("one", Store(str(store)))
    stored.check_sizes([NAME])
    (store / "models" / "one" / NAME).write_bytes(b"12345")
    with pytest.raises(RegistryError, match=rf"refused .*models/one/{NAME}: 5 bytes came, expected 300"):
        stored.fetch([NAME], tmp_path)
    with pytest.raises(RegistryError, match=r"it has 5 bytes, expected 300"):
        stored.check_sizes([NAME])


def test_what_is_there_is_not_fetched_again(store: Path, tmp_path: Path) -> None:
    stored = find_stored_model("one", Store(str(store)))
    assert [stored.fetch([NAME], tmp_path) for _ in range(2)] == [1, 0]
    (tmp_path / NAME).write_bytes(b"x" * 300)
    assert stored.fetch([NAME], tmp_path) == 1


def test_nothing_of_another_model_is_left(tmp_path: Path) -> None:
    for name in ("kept/a", "kept/b", "other/folder/c", "link"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "linked").symlink_to(tmp_path / "kept")
    keep_only(["kept/a"], tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["kept", "kept/a"]
