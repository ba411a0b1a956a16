import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(code: str) -> list[str]:
    """Returns the lines that Python prints, in a process that has imported nothing else."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.splitlines()


def test_errors_of_imported_packages_alone_are_listed() -> None:
    names = "print(*sorted(error.__name__ for error in list_filesystem_errors()), sep='\\n')"
    listed = "from tasks.storage.filesystems import list_filesystem_errors\n" + names
    assert run(listed) == ["NotImplementedError", "OSError", "ValueError"]
    assert run("import botocore.exceptions\n" + listed) == [
        "BotoCoreError",
        "ClientError",
        "NotImplementedError",
        "OSError",
        "ValueError",
    ]
