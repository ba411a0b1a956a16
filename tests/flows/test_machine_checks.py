import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.machine_checks import check_cores, check_disk, check_gpu, check_memory, find_available_memory

GIGABYTE = 10**9


@pytest.mark.parametrize(
    ("needed", "advised", "state"),
    [(1, 2, "ok"), (1, 10**18, "warning"), (10**18, 10**18, "problem")],
)
def test_space_of_a_disk(tmp_path: Path, needed: int, advised: int, state: str) -> None:
    folder = tmp_path / "not yet" / "data"
    check = check_disk("data_dir", folder, needed, advised)
    assert (check.name, check.state) == ("data_dir", state)
    assert check.found.startswith(f"{folder}: ")
    assert ("--set data_dir=" in check.advice) == (state != "ok")
    assert not folder.exists()


def test_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check = check_disk("artifacts_dir", tmp_path / "file" / "artifacts")
    assert (check.state, check.found) == ("problem", f"{tmp_path / 'file'} is a file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    check = check_disk("data_dir", tmp_path / "out" / "data")
    assert (check.state, check.found) == ("problem", f"{tmp_path / 'out'} can't be written to")


def test_cores_that_a_process_may_use() -> None:
    """In a process that may use one core."""
    script = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from flows.machine_checks import check_cores; print(check_cores().state, check_cores().found)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"warning 1 of {os.cpu_count()}\n"
    if len(os.sched_getaffinity(0)) > 1:
        assert check_cores().state in ("ok", "warning")  # a container may be limited to one
        assert check_cores().found.endswith(f" of {os.cpu_count()}")


def write(root: Path, **files: str) -> Path:
    """Writes what Linux tells of memory, by the file's name."""
    paths = {
        "meminfo": "proc/meminfo",
        "limit": "sys/fs/cgroup/memory.max",
        "used": "sys/fs/cgroup/memory.current",
        "limit1": "sys/fs/cgroup/memory/memory.limit_in_bytes",
        "used1": "sys/fs/cgroup/memory/memory.usage_in_bytes",
    }
    for name, text in files.items():
        path = root / paths[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n"


@pytest.mark.parametrize(
    ("files", "available"),
    [
        ({"meminfo": MEMINFO}, 8_192_000_000),
        ({"meminfo": MEMINFO, "limit": "max\n", "used": "5000\n"}, 8_192_000_000),
        ({"meminfo": MEMINFO, "limit": "4000000000\n", "used": "1000000000\n"}, 3_000_000_000),
        ({"meminfo": MEMINFO, "limit1": "2000000000\n", "used1": "500000000\n"}, 1_500_000_000),
        ({"meminfo": MEMINFO, "limit1": "9223372036854771712\n", "used1": "1\n"}, 8_192_000_000),
        ({"limit": "1000\n", "used": "2000\n"}, 0),
        ({}, None),
    ],
)
def test_memory_of_machine_and_container(tmp_path: Path, files: dict[str, str], available: int | None) -> None:
    assert find_available_memory(write(tmp_path, **files)) == available


@pytest.mark.parametrize(
    ("used", "state", "found"),
    [
        ("1000000000", "ok", "3.0 GB available"),
        ("2000000000", "warning", "2.0 GB available"),
        ("3500000000", "problem", "0.5 GB available"),
    ],
)
def test_bounds_of_memory(tmp_path: Path, used: str, state: str, found: str) -> None:
    check = check_memory(write(tmp_path, meminfo=MEMINFO, limit="4000000000", used=used))
    assert (check.state, check.found) == (state, found)
    assert bool(check.advice) == (state != "ok")


def test_memory_of_this_machine() -> None:
    available = find_available_memory(Path("/"))
    assert available is None or 10_000_000 < available < 10**15
    assert check_memory(needed_bytes=0, advised_bytes=1).state == "ok"


def test_gpu_that_tensorflow_sees(tmp_path: Path) -> None:
    import tensorflow as tf

    check = check_gpu("auto", tmp_path)
    if tf.config.list_physical_devices("GPU"):
        assert (check.state, check.found[:4]) == ("ok", "GPU:")
        return
    assert (check.state, check.found[:5]) == ("ok", "none:")
    slow = check_gpu("tensorflow", tmp_path)
    assert (slow.state, "LiteRT" in slow.advice) == ("warning", True)
    (tmp_path / "nvidia0").touch()
    unseen = check_gpu("auto", tmp_path)
    assert (unseen.state, "CUDA" in unseen.advice) == ("warning", True)
