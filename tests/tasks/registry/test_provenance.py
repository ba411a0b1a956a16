import hashlib
import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from tasks import versions
from tasks.fingerprints import list_format_versions, list_versions
from tasks.model_folder import ModelFolder
from tasks.registry import provenance
from tasks.registry.provenance import describe_provenance, describe_revision, list_changes, read_cpu_flags

# So that the machine's own configuration of git has no part in it.
GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "core.hooksPath="]


def git(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run([*GIT, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    (folder / "tasks").mkdir(parents=True)
    git(folder, "init", "--quiet")
    (folder / ".gitignore").write_text("data/\n")
    (folder / "tasks" / "settings.py").write_text("A = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


@pytest.mark.parametrize(
    ("changed", "dirty"),
    [(None, False), ("data/films.parquet", False), ("tasks/settings.py", True), ("tasks/new.py", True)],
)
def test_revision_and_whether_the_tree_differs_from_it(checkout: Path, changed: str | None, dirty: bool) -> None:
    if changed:
        (checkout / changed).parent.mkdir(exist_ok=True)
        (checkout / changed).write_text("A = 2\n")
    revision = git(checkout, "rev-parse", "HEAD")
    assert len(revision) == 40
    assert describe_revision(checkout) == {"revision": revision, "dirty": dirty, "reason": None}


def test_another_repository_is_not_taken_for_the_codes(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An environment with the installed wheel, in somebody's repository; and as a hook of that repository.
    installed = checkout / "site-packages"
    installed.mkdir()
    monkeypatch.setenv("GIT_DIR", str(checkout / ".git"))
    expected = {"revision": None, "dirty": None, "reason": "site-packages is no git checkout"}
    assert describe_revision(installed) == expected
    other = checkout.with_name("other")
    other.mkdir()
    git(other, "init", "--quiet")
    found = describe_revision(other)
    assert (found["revision"], found["dirty"]) == (None, None)
    assert found["reason"].startswith("git rev-parse: ")


@pytest.mark.parametrize(
    ("script", "revision", "reason"),
    [
        ("exec sleep 60", None, "git rev-parse took over 0.3 s"),
        ("sleep 60", None, "git rev-parse took over 0.3 s"),  # its child keeps the pipe open
        ("echo fatal: dubious ownership >&2; exit 128", None, "git rev-parse: fatal: dubious ownership"),
        ("exit 3", None, "git rev-parse: exit code 3"),
        ('case "$*" in *status*) exec sleep 60;; esac; echo 0123', "0123", "git status took over 0.3 s"),
        (None, None, "git can't be run: No such file or directory"),
    ],
)
def test_git_can_neither_fail_nor_hang_a_run(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, revision: str | None, reason: str
) -> None:
    programs = checkout.with_name("programs")
    programs.mkdir()
    if script:
        (programs / "git").write_text(f"#!/bin/sh\n{script}\n")
        (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin" if script else str(programs))
    monkeypatch.setattr(provenance, "_GIT_SECONDS", 0.3)
    start = time.monotonic()
    assert describe_revision(checkout) == {"revision": revision, "dirty": None, "reason": reason}
    assert time.monotonic() - start < 5


def test_lock_catalog_python_and_machine(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert describe_provenance(checkout)["requirements_lock_sha256"] is None
    (checkout / "requirements.lock").write_text("numpy==2.0\n")
    for name in ("ONEDNN_MAX_CPU_ISA", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    found = describe_provenance(checkout)
    assert found["requirements_lock_sha256"] == hashlib.sha256(b"numpy==2.0\n").hexdigest()
    assert found["python"] == platform.python_version()
    assert found["git"]["dirty"]
    machine = found["platform"]
    assert (machine["machine"], machine["environment"]) == (platform.machine(), {"TF_ENABLE_ONEDNN_OPTS": "0"})
    assert (machine["system"], machine["num_cores"]) == (f"{platform.system()} {platform.release()}", os.cpu_count())
    assert machine["cpu_flags"] == read_cpu_flags()
    assert describe_provenance()["requirements_lock_sha256"]  # of this checkout


@pytest.mark.parametrize(
    ("cpuinfo", "flags"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 fma:x avx512f\n\nprocessor\t: 1\nflags\t: fpu\n", ["avx2", "avx512f"]),
        ("processor : 0\nFeatures\t: fp asimd asimddp sve\n", ["asimd", "asimddp", "sve"]),
        ("processor : 0\n", None),
        (None, None),
    ],
)
def test_flags_of_the_first_core(tmp_path: Path, cpuinfo: str | None, flags: list[str] | None) -> None:
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert read_cpu_flags(tmp_path / "cpuinfo") == flags


def test_changes_since_a_model_was_made(tmp_path: Path) -> None:
    model = ModelFolder(tmp_path)
    model.labels_path.write_text("[]")
    made_of = list_format_versions()
    packages = {"poster-genres": version("poster-genres"), **list_versions()}
    described = {
        "id": "m1",
        "inputs": {"versions": made_of, "packages": packages, "settings": {"seed": 1}},
        "provenance": describe_provenance(),
    }
    model.write_manifest(described)
    assert list_changes(model) == []
    described["inputs"] = {"versions": {**made_of, "TRAINING": 0}, "packages": {**packages, "keras": "1.0"}}
    described["provenance"] = {**describe_provenance(), "python": "2.7"}
    model.write_manifest(described)
    model.labels_path.write_text('["Drama"]')
    change, altered = list_changes(model)
    assert change == (
        f'packages.keras "1.0" -> "{version("keras")}", python "2.7" -> "{platform.python_version()}", '
        f"versions.TRAINING 0 -> {versions.TRAINING}"
    )
    assert altered == "labels.json is not the file of the manifest"
