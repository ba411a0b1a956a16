"""Pulling from the Hugging Face Hub, through `huggingface_hub`, from an imitation of it on loopback."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.model_folder import ModelFolder

HUB = Path(__file__).parents[2] / "support" / "model_hub.py"
# The library reads the address of the hub when it is imported.
PULLING = """
import pathlib, sys
from tasks.errors import PosterGenresError
from tasks.registry.listing import list_stored
from tasks.registry.pulling import pull_model
address, folder = "hf://someone/genres", pathlib.Path(sys.argv[1])
print(pull_model("champion", address, folder).is_new, pull_model("champion", address, folder).is_new)
print([row.id for row in list_stored(address).rows])
try:
    pull_model("three", address, folder)
except PosterGenresError as error:
    print(error)
"""


@pytest.mark.skipif(importlib.util.find_spec("huggingface_hub") is None, reason="no huggingface_hub: the extra hf")
def test_a_store_on_the_hub(store: Path, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, str(HUB), str(store)], stdout=subprocess.PIPE, text=True) as hub:
        assert hub.stdout is not None
        endpoint = f"http://127.0.0.1:{hub.stdout.readline().strip()}"
        done = subprocess.run(
            [sys.executable, "-c", PULLING, str(tmp_path / "pulled")],
            env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        hub.kill()
    assert done.stdout.splitlines()[:2] == ["True False", "['one', 'two']"], done.stderr
    assert "there is no model 'three' in hf://someone/genres" in done.stdout
    assert ModelFolder(tmp_path / "pulled").verify()["id"] == "two"
