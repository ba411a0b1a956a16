"""The wheel: which files it has, and what it does in an environment and a folder away from the checkout."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
SMALL_DEMO = """
from flows.demo import demo
overrides = {"evaluation": {"baselines": [], "label_error_folds": None}, "export": {"index": False}}
run = demo(num_films=120, overrides=overrides)
print("model", run.model.path)
"""

pytestmark = pytest.mark.wheel


def call(*command: object, cwd: Path, **environment: str) -> str:
    """Runs a command and returns what it printed; its environment names no other packages and no server."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PREFECT"))}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of an sdist of the committed and new files: a checkout's build/ may have files of earlier builds."""
    source, dist = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    listed = call("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in listed.strip("\0").split("\0"):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    build = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"
    call(sys.executable, "-c", build, "build_sdist", dist, cwd=source)
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(dist, filter="data")
    call(sys.executable, "-c", build, "build_wheel", dist, cwd=dist / sdist.name.removesuffix(".tar.gz"))
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a new virtual environment with the wheel; its other packages are the project's."""
    folder = tmp_path_factory.mktemp("bare")
    call(sys.executable, "-m", "venv", folder, cwd=folder)
    call(folder / "bin" / "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    (site_packages,) = folder.glob("lib/python3*/site-packages")
    (site_packages / "packages.pth").write_text(f"{Path(np.__file__).parents[1]}\n")
    return folder / "bin"


def test_wheel_has_the_packages_with_their_data_and_nothing_else(wheel: Path) -> None:
    listed = call("git", "ls-files", "--cached", "--others", "--exclude-standard", "flows", "tasks", cwd=ROOT)
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert archive.read("flows/project_files/prefect.yaml") == (ROOT / "prefect.yaml").read_bytes()
    assert names == {"poster_genres.py", *listed.split()}
    assert {"tasks/features/backbone.lock", "tasks/report/page.html.jinja"} < names


def test_commands_run_from_any_folder(bare: Path, tmp_path: Path) -> None:
    folder = call(bare / "python", "-c", "import flows; print(flows.__file__)", cwd=tmp_path)
    assert folder.startswith(str(bare.parent))
    assert "demo" in call(bare / "poster-genres", "--help", cwd=tmp_path)
    assert "training.epochs" in call(bare / "poster-genres", "settings", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.backbone
def test_project_makes_a_model_and_predicts(bare: Path, tmp_path: Path) -> None:
    environment = {
        "PREFECT_HOME": str(tmp_path / "home"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(ROOT / "data" / "backbone"),
    }
    call(bare / "poster-genres", "init", "films", cwd=tmp_path)
    films = tmp_path / "films"
    assert "fetched" in call(bare / "poster-genres", "backbone", cwd=films, **environment)
    call(bare / "python", "-c", SMALL_DEMO, cwd=films, **environment)
    poster = "data/sample/site/posters/100002.jpg"
    command = [bare / "poster-genres", "predict", "champion", poster, "--artifacts", "artifacts/sample"]
    assert poster in call(*command, cwd=films)
    made = {path.name for path in films.iterdir()}
    call(bare / "poster-genres", "init", "other", cwd=tmp_path)
    assert made == {path.name for path in (tmp_path / "other").iterdir()}
