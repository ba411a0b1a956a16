"""Locks and other committed files name no package registry: whoever installs chooses their own."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOCKS = [
    *ROOT.glob("*.lock"),
    *(lock for folder in ("docs", "tasks", "tests") for lock in (ROOT / folder).rglob("*.lock")),
]
# None matches itself.
HOSTS = "pypi[.](org|python)|pythonhosted[.]|npmjs[.]|yarnpkg[.]com|[.]debian[.]org|ubuntu[.]com|anaconda[.]|/simple[/]"


def grep(pattern: str, *files: str) -> list[str]:
    """Returns the lines of committed files that match an extended pattern, with their files and numbers."""
    command = ["git", "-C", str(ROOT), "grep", "--line-number", "--extended-regexp", "-I", "-e", pattern, "--", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.splitlines()


def test_no_committed_file_names_a_package_registry() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there are no committed files")
    assert grep("^test:", "Makefile") != []
    assert grep(HOSTS, ".") == []


@pytest.mark.parametrize("lock", LOCKS, ids=str)
def test_locks_have_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text("utf-8")
    assert "==" in text
    assert "://" not in text
    for line in text.replace("\\\n", " ").splitlines():
        assert line.lstrip().startswith("#") or ("==" in line and " --hash=sha256:" in line)
