"""The command `poster-genres` of an installed package, and `python -m poster_genres`.

The packages `flows` and `tasks` have names that others use, too. A folder on `PYTHONPATH` can shadow them, and another
distribution can overwrite their files; this module, whose name is the project's own, notices both before it imports
them.
"""

import base64
import hashlib
import sys
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

_PACKAGES = ("flows", "tasks")
_REMEDY = "install poster-genres in an environment of its own (pipx, uv tool, a new venv), and unset PYTHONPATH"


def main() -> None:
    """Runs the command line, unless its packages are those of another project: then it says so in one line."""
    if stranger := _find_shadow() or _find_overwritten():
        print(f"poster-genres: {stranger}: {_REMEDY}", file=sys.stderr)
        sys.exit(2)
    from flows.__main__ import main as run_command

    run_command()


def _find_shadow() -> str:
    """Returns which package is not beside this module, or would be imported from elsewhere; empty if none."""
    for name in _PACKAGES:
        expected = Path(__file__).resolve().parent / name / "__init__.py"
        if not expected.is_file():
            return f"{expected} is missing, perhaps uninstalled with another package"
        origin = getattr(find_spec(name), "origin", None)
        if origin is None or Path(origin).resolve() != expected:
            return f"the package `{name}` is {origin}, of another project"
    return ""


def _find_overwritten() -> str:
    """Returns which file of the packages is not the installed one; empty if none, and in a checkout."""
    try:
        installed = distribution("poster-genres").files or []
    except PackageNotFoundError:
        return ""
    for file in installed:
        if file.parts[0] in _PACKAGES and file.parts[1:] == ("__init__.py",) and file.hash:
            content = Path(str(file.locate())).read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            if digest != file.hash.value:
                return f"{file.locate()} was overwritten, probably by another package with a module `{file.parts[0]}`"
    return ""


if __name__ == "__main__":
    main()
