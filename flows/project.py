"""A project's folder: its settings, deployments, data and models. The code is in the installed package.

The checkout is such a folder, too: its files are links to those of the package, but for `settings.yaml`, which is a
copy that `make setup` makes.
"""

from importlib.resources import files
from pathlib import Path
from typing import Any

from flows.configuration import load_settings
from flows.settings_file import read_settings_file
from tasks.atomic import atomic_folder, write_text
from tasks.errors import SettingsError

# By their names in the package. There, a .gitignore would be git's.
_NAMES = {
    "settings.yaml": "settings.yaml",
    "prefect.yaml": "prefect.yaml",
    "prefect.toml": "prefect.toml",
    "automations.yaml": "automations.yaml",
    "README.md": "README.md",
    "gitignore": ".gitignore",
}
_FOLDERS = ("data", "artifacts")
# Prefect imports flows with the working directory first.
_OWN_MODULES = ("flows", "flows.py", "tasks", "tasks.py")
_OWN_NAME = "name: poster-genres"  # in prefect.yaml
_ROOT = Path(__file__).resolve().parents[1]


def create_project(folder: Path) -> None:
    """Writes the files of a project into a folder, all or none.

    Args:
        folder: A new folder, or one that has none of these files; what else it has stays.

    Raises:
        SettingsError: The folder has some of the files with other contents, or all, or is no folder.
    """
    contents = _read_contents()
    if not folder.exists():
        with atomic_folder(folder) as partial:
            _write(partial, contents)
        return
    if not folder.is_dir():
        raise SettingsError(f"{folder} is a file: expected the name of a new folder, or of one without a project")
    present = [name for name in contents if (folder / name).exists()]
    # What a killed `init` left is written again.
    changed = [name for name in present if not _has_text(folder / name, contents[name])]
    if changed or len(present) == len(contents):
        raise SettingsError(
            f"{folder} has {', '.join(changed or ['a project'])} already, and nothing is overwritten: name another "
            "folder, or move what is there"
        )
    _write(folder, {name: text for name, text in contents.items() if name not in present})


def _read_contents() -> dict[str, str]:
    source = files("flows.project_files")
    return {name: (source / stored).read_text("utf-8") for stored, name in _NAMES.items()}


def _has_text(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


def _write(folder: Path, contents: dict[str, str]) -> None:
    written: list[Path] = []
    try:
        for name in _FOLDERS:
            if not (folder / name).is_dir():
                (folder / name).mkdir()
                written.append(folder / name)
        for name, text in contents.items():
            write_text(folder / name, text)
            written.append(folder / name)
    except BaseException:  # an interrupt, too
        for path in reversed(written):
            path.rmdir() if path.is_dir() else path.unlink()
        raise


def find_project() -> Path:
    """Returns the working directory if it is a project's folder, otherwise the checkout with this code.

    Raises:
        SettingsError: Neither has a `prefect.yaml`, it is another project's, or the project has modules that would be
            taken for this package's.
    """
    folder = Path.cwd()
    if not (folder / "prefect.yaml").is_file():
        folder = _ROOT
    elif _OWN_NAME not in (folder / "prefect.yaml").read_text("utf-8").splitlines():
        raise SettingsError(
            f"{folder / 'prefect.yaml'} is another project's, since it has no line `{_OWN_NAME}`: run this in a folder "
            "that poster-genres init DIR wrote"
        )
    if not (folder / "prefect.yaml").is_file():
        raise SettingsError(
            f"no prefect.yaml in {Path.cwd()}: run this in a project's folder, which poster-genres init DIR writes"
        )
    if folder != _ROOT:
        for name in _OWN_MODULES:
            if (folder / name).exists():
                raise SettingsError(
                    f"{folder / name} would be imported in place of poster-genres' own module: rename it, or move it "
                    "out of the project's folder"
                )
    return folder


def read_project_settings(file: str) -> dict[str, dict[str, Any]]:
    """Reads the settings of a deployment; a build step of `prefect.yaml`.

    Args:
        file: Path of the settings file.

    Returns:
        `settings`: those that the file gives. What it leaves to the defaults follows them.

    Raises:
        SettingsError: The file can't be read, or a setting is wrong.
    """
    load_settings(Path(file))
    return {"settings": read_settings_file(Path(file))}
