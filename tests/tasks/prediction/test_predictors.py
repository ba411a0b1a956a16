from pathlib import Path

import pytest

from tasks.errors import RegistryError
from tasks.prediction.predictors import PredictorKey, find_predictor


def test_a_worker_with_another_model_or_none_is_one_line(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text("{}")
    key = PredictorKey.describe(tmp_path, None)
    manifest.write_text('{"id": "another"}')
    with pytest.raises(RegistryError, match=f"the worker has another model at {tmp_path}: give all machines the run's"):
        find_predictor(key)
    manifest.unlink()
    with pytest.raises(RegistryError, match=f"the worker has no model at {tmp_path}"):
        find_predictor(key)
