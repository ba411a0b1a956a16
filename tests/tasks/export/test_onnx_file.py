"""What needs no ONNX; the rest is in tests/flows/test_onnx.py."""

import math
from pathlib import Path

import pytest

from tasks.errors import SettingsError
from tasks.export import onnx_file
from tasks.export.onnx_file import check_packages
from tasks.export.task import Export


@pytest.mark.parametrize(
    ("packages", "missing"),
    [
        (("no_such_package", "numpy"), "no_such_package"),
        (("no_such_package", "nor_this_one"), "no_such_package and nor_this_one"),
    ],
)
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, packages: tuple[str, str], missing: str) -> None:
    monkeypatch.setattr(onnx_file, "_PACKAGES", packages)
    with pytest.raises(SettingsError) as caught:
        check_packages()
    assert str(caught.value) == (
        f"export.onnx is true, and {missing} can't be imported: install the extra `onnx` "
        f"(pip install {' '.join(packages)}), or set export.onnx to false"
    )


def test_nothing_is_said_if_they_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "_PACKAGES", ("numpy", "pandas"))
    check_packages()


@pytest.mark.parametrize(
    ("others", "largest"),
    [
        ({}, 0.002),
        ({"tflite": 0.001}, 0.002),
        ({"tflite": 0.003, "onnx": 0.001}, 0.003),
        ({"tflite": 0.001, "onnx": 0.004}, 0.004),
        ({"onnx": math.nan}, math.nan),
    ],
)
def test_the_largest_difference_is_of_all_files(others: dict[str, float], largest: float) -> None:
    checks = {name: {"largest_difference": difference} for name, difference in others.items()}
    export = Export(Path("export"), ["genres"], {"largest_difference": 0.002, "ranking": {}, **checks})
    assert export.largest_difference == pytest.approx(largest, nan_ok=True)
