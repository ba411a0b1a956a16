from pathlib import Path

import pytest

from tasks.settings import Settings
from tasks.workspace import FOLDERS, Workspace


def test_folders_have_their_names_and_are_not_created(tmp_path: Path) -> None:
    workspace = Settings(data_dir=tmp_path / "data").workspace
    assert [workspace.folder(name).relative_to(tmp_path).as_posix() for name in FOLDERS] == [
        "data/catalog",
        "data/posters",
        "data/splits",
        "data/shards",
        "data/features",
        "data/training",
        "data/evaluation",
        "data/export",
        "data/comparison",
        "data/reproduction",
        "data/inspection",
        "data/tensorboard",
        "data/logs",
    ]
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_is_read(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert workspace.read("comparison/table.md") is None
    workspace.write("comparison/table.md", b"first")
    workspace.write("comparison/table.md", b"second")
    assert workspace.read("comparison/table.md") == b"second"
    assert [path.name for path in workspace.folder("comparison").iterdir()] == ["table.md"]


def test_a_write_that_fails_keeps_the_old_content(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.write("comparison/table.md", b"first")
    with pytest.raises(TypeError):
        workspace.write("comparison/table.md", "text in place of bytes")  # type: ignore[arg-type]
    assert workspace.read("comparison/table.md") == b"first"
    assert [path.name for path in workspace.folder("comparison").iterdir()] == ["table.md"]


def test_leftovers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    leftovers = [
        ".shards.0123abcd.partial/a.tfrecord",
        ".reproduction.0123abcd.partial/training/default-0123/head.keras",
        "posters/.part-00000.parquet.0123abcd.partial",
        "training/.default-0123.4567cdef.partial/head.keras",
        "tensorboard/.20261127-170604-4b8695.4567cdef.partial/test/metadata.tsv",
        "features/mobilenet/.part-00000.parquet.0123abcd.partial",
    ]
    kept = [
        "posters/part-00000.parquet",
        "features/mobilenet/part-00000.parquet",
        ".labels.0123abcd.partial/labels.csv",
        "labels/.labels.csv.0123abcd.partial",
    ]
    for name in (*leftovers, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    Workspace(tmp_path).clear_leftovers()
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()) == sorted(
        kept
    )
    assert not list(tmp_path.glob(".shards*"))
