"""The command notices packages of others that have the names of its own."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def call(*folders: Path) -> subprocess.CompletedProcess[str]:
    """Runs `poster-genres --help` with folders before all others on the path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    command = [sys.executable, "-P", "-m", "poster_genres", "--help"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_command_runs() -> None:
    done = call(ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert "demo" in done.stdout


def test_a_package_of_another_project_on_the_path_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "__init__.py").write_text("raise SystemExit('imported')\n")
    done = call(tmp_path, ROOT)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"the package `tasks` is {tmp_path}/tasks/__init__.py, of another project: install" in done.stderr


def test_a_package_that_was_installed_over_it_is_one_line(tmp_path: Path) -> None:
    shutil.copy(ROOT / "poster_genres.py", tmp_path)
    records = []
    for name in ("flows", "tasks"):
        (tmp_path / name).mkdir()
        content = b'"""Installed."""\n'
        (tmp_path / name / "__init__.py").write_bytes(content)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        records.append(f"{name}/__init__.py,sha256={digest},{len(content)}\n")
    (tmp_path / "flows" / "__main__.py").write_text("def main() -> None:\n    print('it runs')\n")
    (tmp_path / "poster_genres-0.1.0.dist-info").mkdir()
    (tmp_path / "poster_genres-0.1.0.dist-info" / "METADATA").write_text("Name: poster-genres\nVersion: 0.1.0\n")
    (tmp_path / "poster_genres-0.1.0.dist-info" / "RECORD").write_text("".join(records))
    assert call(tmp_path).stdout == "it runs\n"
    (tmp_path / "tasks" / "__init__.py").write_text("# of another distribution\n")
    done = call(tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"{tmp_path}/tasks/__init__.py was overwritten" in done.stderr
    (tmp_path / "tasks" / "__init__.py").unlink()  # as when that distribution is uninstalled
    done = call(tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"{tmp_path}/tasks/__init__.py is missing" in done.stderr
