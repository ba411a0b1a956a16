"""The Dockerfiles and compose.yaml, as tests read them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]


def read_compose() -> dict[str, Any]:
    """Returns compose.yaml, merged but not interpolated."""
    return dict(yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8")))


def read_instructions(file: str) -> list[tuple[str, str]]:
    """Returns the instructions of a Dockerfile, each with its arguments; continued lines are joined."""
    lines = [line for line in (ROOT / file).read_text("utf-8").splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(name, arguments) for name, _, arguments in (line.partition(" ") for line in joined if line)]


def split_script(script: str) -> Iterator[list[str]]:
    """Yields the words of each command of a shell script of &&, || and lines; redirections are left out."""
    for command in re.split(r"&&|\|\||\n", script.replace("\\\n", " ")):
        if words := shlex.split(re.sub(r"> /dev/null", "", command)):
            yield words
