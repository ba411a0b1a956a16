import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from flows import project
from flows.configuration import load_settings
from flows.project import create_project, find_project, read_project_settings
from tasks.errors import SettingsError
from tasks.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
NAMES = [".gitignore", "README.md", "automations.yaml", "prefect.toml", "prefect.yaml", "settings.yaml"]


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_a_new_folder_has_all_files_and_the_folders_of_runs(tmp_path: Path) -> None:
    create_project(tmp_path / "made" / "films")
    folder = tmp_path / "made" / "films"
    assert list_names(folder) == NAMES
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["artifacts", "data"]
    assert "/data/" in (folder / ".gitignore").read_text().splitlines()


def test_files_of_others_stay_and_the_project_joins_them(tmp_path: Path) -> None:
    (tmp_path / "MovieGenre.csv").write_text("imdbId\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").touch()
    create_project(tmp_path)
    assert list_names(tmp_path) == sorted([*NAMES, "MovieGenre.csv"])
    assert (tmp_path / "data" / "mine").exists()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine\n")
    with pytest.raises(SettingsError, match=rf"has {name} already, and nothing is overwritten"):
        create_project(tmp_path)
    assert list_names(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "mine\n"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_twice_is_refused_and_half_of_it_is_completed(tmp_path: Path) -> None:
    create_project(tmp_path)
    with pytest.raises(SettingsError, match="has a project already"):
        create_project(tmp_path)
    (tmp_path / "prefect.yaml").unlink()
    create_project(tmp_path)
    assert list_names(tmp_path) == NAMES


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "films").touch()
    with pytest.raises(SettingsError, match="films is a file: expected the name of a new folder"):
        create_project(tmp_path / "films")


@pytest.mark.parametrize("exists", [False, True])
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool) -> None:
    folder = tmp_path / "films"
    if exists:
        folder.mkdir()
    write = project.write_text

    def write_until_full(path: Path, text: str) -> None:
        if path.name == "README.md":
            raise OSError(28, "No space left on device", str(path))
        write(path, text)

    monkeypatch.setattr(project, "write_text", write_until_full)
    with pytest.raises(OSError, match="No space left"):
        create_project(folder)
    assert [path.name for path in tmp_path.rglob("*")] == (["films"] if exists else [])


def test_settings_are_valid_and_change_no_default_but_the_wait(tmp_path: Path) -> None:
    create_project(tmp_path / "films")
    settings = load_settings(tmp_path / "films" / "settings.yaml")
    assert settings == Settings(wait_seconds=3600)


def test_a_deployment_gets_the_settings_that_the_file_gives(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("training: {epochs: 3}\n")
    assert read_project_settings(str(file)) == {"settings": {"training": {"epochs": 3}}}
    file.write_text("training: {epoch: 3}\n")
    with pytest.raises(SettingsError, match=r"did you mean training.epochs\?"):
        read_project_settings(str(file))


def test_the_checkout_is_a_project_whose_files_are_the_packages(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    for name in ("prefect.yaml", "prefect.toml", "automations.yaml"):
        assert (ROOT / name).read_text("utf-8") == (files("flows.project_files") / name).read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    assert find_project() == ROOT
    (tmp_path / "prefect.yaml").write_text("name: films\n")
    with pytest.raises(SettingsError, match="is another project's"):
        find_project()
    (tmp_path / "prefect.yaml").write_text("name: poster-genres\n")
    assert find_project() == tmp_path
    (tmp_path / "tasks").mkdir()
    with pytest.raises(SettingsError, match="would be imported in place of poster-genres' own module"):
        find_project()


def test_without_a_checkout_a_folder_without_a_project_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(project, "_ROOT", tmp_path / "site-packages")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="which poster-genres init DIR writes"):
        find_project()


def test_deployments_name_flows_of_the_package() -> None:
    text = (files("flows.project_files") / "prefect.yaml").read_text("utf-8")
    entrypoints = [deployment["entrypoint"] for deployment in yaml.safe_load(text)["deployments"]]
    assert entrypoints == ["flows.train.train", "flows.demo.demo", "flows.label.label"]


def test_command_writes_a_project_and_says_what_is_next(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "flows.cli", "init", "my films"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "cd 'my films' && " in done.stdout
    assert list_names(tmp_path / "my films") == NAMES
    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert again.stderr.startswith("poster-genres: my films has a project already")


def test_in_the_working_directory_there_is_no_folder_to_enter(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "flows.cli", "init", "."]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "cd " not in done.stdout
    assert done.stdout.rstrip().endswith(" demo")
