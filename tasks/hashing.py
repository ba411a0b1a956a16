"""The hash that files are known by."""

import hashlib
from pathlib import Path


def hash_file(path: Path) -> str:
    """Returns the sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
