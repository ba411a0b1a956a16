from pathlib import Path

import pytest

from tasks.model_folder import ModelFolder
from tasks.registry.models import promote


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with the models one and two; the second is the champion."""
    store = tmp_path / "store"
    for name in ("one", "two"):
        folder = store / "models" / name
        (folder / "saved_model").mkdir(parents=True)
        (folder / "saved_model" / "saved_model.pb").write_bytes(name.encode() * 100)
        (folder / "labels.json").write_text('["Drama"]')
        ModelFolder(folder).write_manifest({"id": name})
    (store / "models" / ".three.1234.partial").mkdir()
    promote(store, "one", "first")
    promote(store, "two", "better")
    return store
