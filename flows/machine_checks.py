"""Whether this machine can run the pipeline: disk, cores, memory, GPU."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import joblib

GIGABYTE = 10**9
# A run on 7,820 posters leaves 0.7 GB; on 40,000 it takes some 4 GB.
_NEEDED_DISK, _ADVISED_DISK = GIGABYTE, 5 * GIGABYTE
# TensorFlow takes 0.7 GB; the largest stage at 400,000 posters 1.6 GB, beside Prefect's server.
_NEEDED_MEMORY, _ADVISED_MEMORY = GIGABYTE, int(2.5 * GIGABYTE)

# Limit and use of memory of a container: cgroups version 2 and 1.
_CGROUPS = (
    ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current"),
    ("sys/fs/cgroup/memory/memory.limit_in_bytes", "sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


@dataclass(frozen=True)
class SetupCheck:
    """A check of what runs depend on.

    Attributes:
        name: What was checked.
        state: `problem`: a run would fail.
        found: What was found.
        advice: What to do about it; empty if it is ok.
    """

    name: str
    state: Literal["ok", "warning", "problem"]
    found: str
    advice: str = ""


def check_disk(
    name: str, folder: Path, needed_bytes: int = _NEEDED_DISK, advised_bytes: int = _ADVISED_DISK
) -> SetupCheck:
    """Checks that a folder exists or can be created, and has space.

    Args:
        name: Setting of the folder.
        folder: The folder.
        needed_bytes: Free space below which a run fails.
        advised_bytes: Free space that a run on some ten thousand posters takes.
    """
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        return SetupCheck(name, "problem", f"{existing} is a file", f"choose another folder (--set {name}=...)")
    if not os.access(existing, os.W_OK | os.X_OK):
        return SetupCheck(
            name, "problem", f"{existing} can't be written to", f"choose another folder (--set {name}=...)"
        )
    free = shutil.disk_usage(existing).free
    found = f"{folder}: {free / GIGABYTE:,.1f} GB free"
    if free >= advised_bytes:
        return SetupCheck(name, "ok", found)
    advice = f"free some space (poster-genres prune), or choose another disk (--set {name}=...)"
    return SetupCheck(name, "problem" if free < needed_bytes else "warning", found, advice)


def check_cores() -> SetupCheck:
    """Checks how many cores this process may use, limits of containers included."""
    available, present = joblib.cpu_count(), os.cpu_count() or 1
    found = f"{available} of {present}"
    if available > 1:
        return SetupCheck("cores", "ok", found)
    return SetupCheck("cores", "warning", found, "give the process or container two cores: runs take half the time")


def check_memory(
    root: Path = Path("/"), needed_bytes: int = _NEEDED_MEMORY, advised_bytes: int = _ADVISED_MEMORY
) -> SetupCheck:
    """Checks the available memory, limits of containers included.

    Args:
        root: Root of the file system, in which Linux tells it.
        needed_bytes: Memory below which a run fails.
        advised_bytes: Memory of the largest stages.
    """
    available = find_available_memory(root)
    if available is None:
        return SetupCheck("memory", "ok", "not known on this system")
    found = f"{available / GIGABYTE:,.1f} GB available"
    if available >= advised_bytes:
        return SetupCheck("memory", "ok", found)
    return SetupCheck(
        "memory",
        "problem" if available < needed_bytes else "warning",
        found,
        f"stop other programs, or give the container {advised_bytes / GIGABYTE:g} GB",
    )


def find_available_memory(root: Path) -> int | None:
    """Returns the bytes that can still be taken, by the machine and by a container's limit; None if not known."""
    amounts = []
    lines = _read(root / "proc/meminfo").splitlines()
    amounts += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    for limit, used in _CGROUPS:
        numbers = [_read(root / path).strip() for path in (limit, used)]
        if all(number.isdecimal() for number in numbers):  # a limit may be "max", for none
            amounts.append(max(0, int(numbers[0]) - int(numbers[1])))
    return min(amounts, default=None)


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except OSError:
        return ""


def check_gpu(engine: str, devices: Path = Path("/dev")) -> SetupCheck:
    """Checks which devices TensorFlow sees, which it imports.

    Args:
        engine: Setting `features.engine`.
        devices: Folder with the files of the devices.
    """
    import tensorflow as tf

    names = [device.name.removeprefix("/physical_device:") for device in tf.config.list_physical_devices("GPU")]
    if names:
        return SetupCheck("GPU", "ok", f"{', '.join(names)}: features are computed there")
    if (devices / "nvidia0").exists():
        found = "one is there, and TensorFlow does not see it"
        return SetupCheck("GPU", "warning", found, "install CUDA's libraries: pip install 'tensorflow[and-cuda]'")
    if engine == "tensorflow":
        found = "none, and features.engine=tensorflow"
        return SetupCheck("GPU", "warning", found, "leave out features.engine: LiteRT takes a fraction of the time")
    return SetupCheck("GPU", "ok", "none: features are computed by LiteRT on the cores")
