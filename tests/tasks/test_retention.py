import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.model_folder import ModelFolder
from tasks.retention import Freed, InUse, Outdated, list_outdated, remove
from tasks.workspace import Workspace

DAY = 86_400
NAMES = [
    *("catalog/films.parquet", "posters/part-00000.json", "splits/seed-0-0.1-0.1.parquet", "shards/dataset.json"),
    *("features/net/features-1.parquet", "features/other/features-1.parquet", "features/other/gathered-1/train.npy"),
    *("training/default-1/head.keras", "training/seed-1/head.keras", "training/.seed-1.0123abcd.partial/head.keras"),
    *("evaluation/metrics.json", "export/head.keras", "comparison/seed-0/dataset.json", "backbone/weights.whl"),
    *("logs/1.jsonl", "logs/2.jsonl", "logs/3.jsonl", "logs/server.log", "sample/logs/1.jsonl"),
    *("tensorboard/20260101-000000-0123ab/test/events", "tensorboard/20260201-000000-0123ab/test/events"),
]
IN_USE = InUse("net", frozenset({"default-1"}))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Every file is ten days old."""
    for name in NAMES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
        os.utime(path, (time.time() - 10 * DAY,) * 2)
    return Workspace(tmp_path)


def find(workspace: Workspace, in_use: InUse | None, keep_days: float) -> list[str]:
    return sorted(
        each.path.relative_to(workspace.data_dir).as_posix() for each in list_outdated(workspace, in_use, keep_days)
    )


OLD_LOGS = ["logs/1.jsonl", "logs/2.jsonl", "tensorboard/20260101-000000-0123ab"]
OLD = [*("evaluation", "export", "features/other"), *OLD_LOGS, "training/seed-1"]


@pytest.mark.parametrize(
    ("in_use", "keep_days", "expected"),
    [
        (IN_USE, 9, OLD),
        (IN_USE, 0, OLD),
        (IN_USE, 11, []),
        (None, 9, OLD_LOGS),
    ],
)
def test_old_and_not_used(workspace: Workspace, in_use: InUse | None, keep_days: float, expected: list[str]) -> None:
    assert find(workspace, in_use, keep_days) == expected


def test_a_folder_is_as_old_as_the_newest_file_in_it(workspace: Workspace) -> None:
    os.utime(workspace.data_dir / "features/other/gathered-1/train.npy")
    assert find(workspace, IN_USE, 9) == [name for name in OLD if name != "features/other"]


def test_what_a_user_linked_there_stays(workspace: Workspace) -> None:
    folder = workspace.folder("training")
    (folder / "elsewhere").symlink_to(folder / "seed-1")
    assert find(workspace, IN_USE, 9) == OLD


def test_what_a_model_was_made_with(tmp_path: Path) -> None:
    model = ModelFolder(tmp_path)
    assert InUse.by(model) is None
    model.write_manifest({"id": "m1", "features": "net"})
    model.metrics_path.write_text(json.dumps({"inputs": {"heads": ["a", "b"], "cross_fitted": "c"}}))
    assert InUse.by(model) == InUse("net", frozenset("abc"))
    model.metrics_path.write_text(json.dumps({"inputs": {"heads": ["a"], "cross_fitted": None}}))
    assert InUse.by(ModelFolder(tmp_path)) == InUse("net", frozenset("a"))
    for unreadable in ("{}", "[]", "{", json.dumps({"inputs": {"heads": 3}})):
        model.metrics_path.write_text(unreadable)
        assert InUse.by(ModelFolder(tmp_path)) is None


def test_what_is_freed_is_counted(workspace: Workspace) -> None:
    outdated = list_outdated(workspace, IN_USE, 9)
    counted = remove(outdated, dry_run=True)
    assert all((workspace.data_dir / name).exists() for name in NAMES)
    freed = remove(outdated)
    assert freed == counted
    assert (freed.num_files, freed.num_bytes) == (8, 40)
    assert freed.describe() == (
        "2 logs, 1 TensorBoard logs, 1 trained heads, 1 features of other networks, 2 results of the last run: "
        "8 files, 0.0 MB"
    )
    left = {name for name in NAMES if (workspace.data_dir / name).exists()}
    assert left == {name for name in NAMES if not any(name.startswith(old) for old in OLD)}
    assert remove(outdated) == Freed()  # another process was first


def test_sums() -> None:
    one = Freed((Outdated(Path("a"), "logs"),), 1, 1_500_000, 0, ("x",))
    other = Freed((Outdated(Path("b"), "models"),), 2, 3_000_000, 4, ("y",))
    assert (one + other).describe() == "1 logs, 1 models, 4 flow runs: 3 files, 4.5 MB"
    assert (one + other).problems == ("x", "y")
    assert Freed().describe() == "nothing"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, unlike `tmp_path`."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_what_cannot_be_removed_whole_stays_whole(open_folder: Path) -> None:
    for name in ("a/inner/file", "b/file"):
        (open_folder / name).parent.mkdir(parents=True)
        (open_folder / name).touch()
    is_root = os.geteuid() == 0
    if is_root:  # which may write everywhere
        for path in (open_folder, *open_folder.rglob("*")):
            os.chown(path, 65534, -1)
        os.seteuid(65534)
    try:
        (open_folder / "a" / "inner").chmod(0o555)
        freed = remove([Outdated(open_folder / name, "models") for name in "ab"])
        (open_folder / "a" / "inner").chmod(0o755)
    finally:
        if is_root:
            os.seteuid(0)
    assert [each.path.name for each in freed.removed] == ["b"]
    assert len(freed.problems) == 1
    assert freed.problems[0].startswith(f"{open_folder}/a/inner: permission denied")
    assert sorted(path.name for path in open_folder.rglob("*")) == ["a", "file", "inner"]


def test_a_folder_that_a_kill_left_is_removed_later(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", stop)
        with pytest.raises(KeyboardInterrupt):
            remove([Outdated(workspace.folder("features") / "other", "features")])
    assert find(workspace, IN_USE, 9) == [name for name in OLD if name != "features/other"]
    workspace.clear_leftovers()
    assert [path.name for path in workspace.folder("features").iterdir()] == ["net"]
