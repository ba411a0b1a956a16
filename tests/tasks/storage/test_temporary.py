import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.storage.temporary import remove_leftovers, temporary_folder

ROOT = Path(__file__).resolve().parents[3]

HOLD = """
import sys
from tasks.storage.temporary import temporary_folder
with temporary_folder() as folder:
    (folder / "posters").mkdir()
    (folder / "posters" / "segment.parquet").write_bytes(b"posters")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def hold(folder: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Starts a process that has a temporary folder, which was made an hour ago."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        held = Path(process.stdout.readline().strip())
        os.utime(held, (time.time() - 3600,) * 2)
        yield process, held
        process.kill()


killed, living = pytest.fixture(hold, name="killed"), pytest.fixture(hold, name="living")


def test_folders_of_killed_processes_are_removed_and_those_in_use_stay(
    folder: Path, killed: tuple[subprocess.Popen[str], Path], living: tuple[subprocess.Popen[str], Path]
) -> None:
    killed[0].kill()
    killed[0].wait()
    (folder / "poster-genres-of-a-user").mkdir()
    remove_leftovers()
    assert sorted(folder.iterdir()) == sorted([living[1], folder / "poster-genres-of-a-user"])
    assert (living[1] / "posters" / "segment.parquet").exists()


def test_a_folder_is_gone_after_its_block_and_a_young_one_is_left_alone(folder: Path) -> None:
    (folder / "poster-genres-staged-young").mkdir()
    with temporary_folder() as own:
        remove_leftovers()
        assert own.parent == folder
        assert own.is_dir()
    assert [path.name for path in folder.iterdir()] == ["poster-genres-staged-young"]
