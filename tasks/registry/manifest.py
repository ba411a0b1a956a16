"""What a published model consists of, to the byte."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.errors import RegistryError
from tasks.hashing import hash_file

MANIFEST = "manifest.json"


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns the `sha256` (hexadecimal) and `num_bytes` of every file below `folder`, by its path in it."""
    return {
        path.relative_to(folder).as_posix(): {"sha256": hash_file(path), "num_bytes": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def write_manifest(folder: Path, about: Mapping[str, Any]) -> None:
    """Writes the manifest of a model's folder: `about`, and under `files` what `describe_files` finds."""
    manifest = {**about, "files": describe_files(folder)}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", "utf-8")


def parse_manifest(text: str | bytes, where: str) -> dict[str, Any]:
    """Returns a manifest; raises `RegistryError` if the text is none, or names a file outside the model's folder."""
    try:
        manifest = json.loads(text)
        files, _ = manifest["files"], str(manifest["id"])
        names = [Path(name) for name in files]
        complete = all({"sha256", "num_bytes"} <= set(about) for about in files.values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RegistryError(
            f"{where} is no manifest of a model: expected JSON with its id and the files' hashes"
        ) from error
    if not complete or any(name.is_absolute() or ".." in name.parts for name in names):
        raise RegistryError(f"{where} is no manifest of a model: each file needs a relative name, sha256 and num_bytes")
    return dict(manifest)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Returns the manifest of the model in a folder; raises as `parse_manifest`, and `OSError` if there is none."""
    path = folder / MANIFEST
    return parse_manifest(path.read_bytes(), str(path))


def check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Checks that every file of the manifest is there, to the byte.

    Raises:
        RegistryError: naming the first file that is missing, truncated or altered.
    """
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise RegistryError(f"{folder} lacks {name}: pull the model again")
        if path.stat().st_size != expected["num_bytes"]:
            raise RegistryError(
                f"{path} has {path.stat().st_size:,} bytes, expected {expected['num_bytes']:,}: pull the model again"
            )
        if hash_file(path) != expected["sha256"]:
            raise RegistryError(f"{path} is not what its manifest says (other sha256): pull the model again")
