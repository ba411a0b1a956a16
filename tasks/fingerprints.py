"""Fingerprints of a stage's inputs, kept in the description of its result: an up-to-date one is not made again."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tasks import versions
from tasks.checking import has_checksums, is_whole
from tasks.errors import one_line

logger = logging.getLogger(__name__)

# Packages whose versions decide the result of training and of predictions.
PACKAGES = ("tensorflow", "keras", "scikit-learn", "scipy")


@dataclass(frozen=True)
class Inputs:
    """Everything that decides a stage's result, by name; equal inputs, equal result.

    Attributes:
        values: JSON values: settings, the fingerprints of earlier stages' results, the version of the stage.
    """

    values: Mapping[str, Any]

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of the values, hexadecimal."""
        return hashlib.sha256(json.dumps(self.values, sort_keys=True).encode()).hexdigest()

    def as_description(self) -> dict[str, Any]:
        """Returns the entries of a result's JSON description that `find_current` reads."""
        return {"inputs_fingerprint": self.fingerprint, "inputs": dict(self.values)}

    def describe_change(self, previous: Mapping[str, Any]) -> str:
        """Returns in words how these inputs differ from those of an earlier result."""
        before, now = (dict(_flatten(json.loads(json.dumps(values)))) for values in (previous, self.values))
        names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        return ", ".join(f"{name} {_shorten(before.get(name))} -> {_shorten(now.get(name))}" for name in names)


def list_versions() -> dict[str, str]:
    """Returns the versions of `PACKAGES`."""
    return {name: version(name) for name in PACKAGES}


def list_format_versions() -> dict[str, int]:
    """Returns those of `tasks.versions` that decide a model; that of the gate decides its verdict alone."""
    return {name: value for name, value in vars(versions).items() if name.isupper() and name != "GATE"}


def find_current(path: Path, inputs: Inputs) -> dict[str, Any] | None:
    """Returns the description of a stage's result if it was made from exactly these inputs and is whole.

    If there is another or a damaged result, a log line gives the reason why it is made again.

    Args:
        path: JSON file with at least what `Inputs.as_description` returns, in a folder with the checksums of
            `tasks.checking.write_checksums`.
        inputs: Inputs of this run.
    """
    folder = path.parent
    if has_checksums(folder) and not is_whole(folder):
        return None
    try:
        description: dict[str, Any] = json.loads(path.read_text("utf-8"))
        previous = description.get("inputs_fingerprint")
    except FileNotFoundError:
        return None
    except (ValueError, AttributeError) as error:
        logger.warning("%s is damaged (%s): it is made again", path, one_line(error))
        return None
    if previous is None or not has_checksums(folder):
        logger.info("%s was written by an earlier version: it is made again", path)
    elif previous == inputs.fingerprint:
        return description
    else:
        logger.info("%s is made again: %s", path, inputs.describe_change(description["inputs"]))
    return None


def _flatten(value: Any, name: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        return [(name, value)]
    return [pair for key, inner in value.items() for pair in _flatten(inner, f"{name}.{key}" if name else str(key))]


def _shorten(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:36]}..."
