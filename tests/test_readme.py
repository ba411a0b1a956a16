"""The README states only what is true."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from tasks.settings import RECIPES, Settings

README = Path(__file__).resolve().parents[1] / "README.md"


def list_settings(model: type[BaseModel], group: str = "") -> Iterator[tuple[str, str, str]]:
    """Yields name, default and description of every setting, as the README has them."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from list_settings(field.annotation, f"{name}.")
        else:
            default = field.default
            text = ", ".join(default) if isinstance(default, tuple) else str(default)
            text = {"None": "null", "True": "true", "False": "false"}.get(text, text)
            mark = " *" if group == "training." and name in RECIPES["default"] else ""
            yield f"`{group}{name}`{mark}", text, str(field.description)


def test_settings_table() -> None:
    section = README.read_text("utf-8").split("\n## Settings\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.+?`(?: \*)?) \| (.*?) \| (.*?) \|$", section, re.MULTILINE)
    assert rows == list(list_settings(Settings))


def test_benchmark_table_is_the_measured_one() -> None:
    results = (README.parent / "tests" / "benchmarks" / "results.md").read_text("utf-8")
    assert f"<!-- tests/benchmarks/results.md -->\n{results}<!-- end -->" in README.read_text("utf-8")


@pytest.mark.parametrize("path", re.findall(r"`([\w./]+\.(?:py|lock|md))`", README.read_text("utf-8")))
def test_files_it_names_are_there(path: str) -> None:
    # report.md is a model's.
    assert (README.parent / path).exists() or path == "report.md"
