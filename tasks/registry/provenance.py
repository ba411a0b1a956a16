"""Where a model comes from: the code, the locked packages, the catalog, Python and the machine."""

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tasks.fingerprints import Inputs, list_format_versions, list_versions
from tasks.hashing import find_damage, hash_file
from tasks.model_folder import ModelFolder

_ROOT = Path(__file__).resolve().parents[2]
# A repository on a slow disk must not hold up a run.
_GIT_SECONDS = 5.0
_LONGEST_REASON = 200

# What kernels of TensorFlow and LiteRT are chosen by.
_CPU_FLAGS = (
    *("sse4_2", "avx", "f16c", "fma", "avx2", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "avx_vnni"),
    *("amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "sve", "i8mm"),
)
_CPU_VARIABLES = ("TF_ENABLE_ONEDNN_OPTS", "ONEDNN_MAX_CPU_ISA", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def describe_provenance(root: Path = _ROOT) -> dict[str, Any]:
    """Returns where a model comes from, beside its catalog, its settings and the versions of its packages.

    Args:
        root: Folder of the checkout; that of an installed wheel is none.

    Returns:
        `git` (see `describe_revision`); `requirements_lock_sha256`, None where there is no such file;
        `python`, its version; `platform`, with `system`, `machine`, `num_cores`, `cpu_flags` (None where they are not
        known) and `environment`, the variables that choose kernels.
    """
    return {
        "git": describe_revision(root),
        "requirements_lock_sha256": _hash_lock(root / "requirements.lock"),
        "python": platform.python_version(),
        "platform": {
            "system": f"{platform.system()} {platform.release()}",
            "machine": platform.machine(),
            "num_cores": os.cpu_count(),
            "cpu_flags": read_cpu_flags(),
            "environment": {name: os.environ[name] for name in _CPU_VARIABLES if name in os.environ},
        },
    }


def describe_revision(root: Path) -> dict[str, Any]:
    """Returns the git revision of a checkout; git can neither fail nor hang the run.

    Args:
        root: Folder of the checkout, with `.git` in it. A repository around it, such as the one that an environment
            with the installed wheel lies in, is not that of the code.

    Returns:
        `revision`, and `dirty`: whether files differ from it, or are new and not ignored. What is not known is None,
        and `reason` has why; it is None if all is known.
    """
    if not (root / ".git").exists():
        return {"revision": None, "dirty": None, "reason": f"{root.name} is no git checkout"}
    revision, reason = _run_git(root, "rev-parse", "HEAD")
    if revision is None:
        return {"revision": None, "dirty": None, "reason": reason}
    changes, reason = _run_git(root, "status", "--porcelain")
    return {"revision": revision, "dirty": None if changes is None else bool(changes), "reason": reason}


def _run_git(root: Path, *arguments: str) -> tuple[str | None, str | None]:
    """Returns what a git command printed; None where it failed, and the reason."""
    # Variables such as GIT_DIR, which git sets for its hooks, name another repository; fsmonitor would start a process.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"git {arguments[0]} took over {_GIT_SECONDS:g} s"
    except OSError as error:
        return None, f"git can't be run: {error.strerror}"
    if done.returncode:
        words = " ".join(done.stderr.decode(errors="replace").split())
        return None, f"git {arguments[0]}: {words[:_LONGEST_REASON] or f'exit code {done.returncode}'}"
    return done.stdout.decode(errors="replace").strip(), None


def _hash_lock(path: Path) -> str | None:
    try:
        return hash_file(path)
    except OSError:
        return None


def read_cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str] | None:
    """Returns those of `_CPU_FLAGS` that the first core has; None where the system has no such file."""
    try:
        lines = cpuinfo.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    # x86 names the line "flags", Arm "Features".
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), None)
    return None if flags is None else [flag for flag in _CPU_FLAGS if flag in flags]


def list_changes(model: ModelFolder) -> list[str]:
    """Returns what is different from when a model was made: code, packages, machine, and the model's own files."""
    manifest = model.read_manifest()
    then = {**{name: manifest["inputs"][name] for name in ("versions", "packages")}, **_pick(manifest["provenance"])}
    now = {
        "versions": list_format_versions(),
        "packages": {"poster-genres": version("poster-genres"), **list_versions()},
        **_pick(describe_provenance()),
    }
    changes = [change] if (change := Inputs(now).describe_change(then)) else []
    altered = [name for name, file in manifest["files"].items() if find_damage(model.path / name, file)]
    return [*changes, *(f"{name} is not the file of the manifest" for name in altered)]


def _pick(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what of a model's provenance may decide its weights."""
    return {name: provenance[name] for name in ("git", "requirements_lock_sha256", "python", "platform")}
