"""Files described by hash and size, and compared with their descriptions."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def hash_file(path: Path) -> str:
    """Returns the sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_file(path: Path) -> dict[str, Any]:
    """Returns the `sha256` (hexadecimal) and the size, `num_bytes`, of a file, for `find_damage`."""
    return {"sha256": hash_file(path), "num_bytes": path.stat().st_size}


def find_damage(path: Path, expected: Mapping[str, Any], *, with_hash: bool = True) -> str:
    """Returns how a file differs from its description, such as `is missing`; empty if it does not.

    Args:
        path: The file.
        expected: `sha256`, and `num_bytes` unless an earlier version described the file.
        with_hash: Whether the hash is compared, too, for which the file is read.
    """
    if not path.is_file():
        return "is missing"
    num_bytes = path.stat().st_size
    if num_bytes != expected.get("num_bytes", num_bytes):
        return f"is damaged ({num_bytes:,} bytes, expected {expected['num_bytes']:,})"
    if with_hash and hash_file(path) != expected["sha256"]:
        return "is damaged (its sha256 is another than when it was written)"
    return ""
