"""What needs no MLflow; the rest is in tests/flows/test_mlflow.py."""

import json
import logging
import sys
from pathlib import Path

import numpy as np
import pytest

from tasks.evaluation.predictions import write_predictions
from tasks.model_folder import ModelFolder
from tasks.tracking.mlflow_run import flatten, is_wanted, list_metrics, log_to_mlflow


@pytest.mark.parametrize(("value", "expected"), [(None, False), ("", False), ("sqlite:///mlflow.db", True)])
def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch, value: str | None, expected: bool) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if value is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", value)
    assert is_wanted() is expected


def test_without_the_package_a_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    monkeypatch.setitem(sys.modules, "mlflow", None)  # as if it were not installed
    log_to_mlflow.fn(ModelFolder(tmp_path / "20260601-120000-0123ab"))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("tracking: 20260601-120000-0123ab is published, but not in MLflow")
    for part in ("MLFLOW_TRACKING_URI", "pip install mlflow-skinny", "The next run tries it again", "unset"):
        assert part in record.getMessage()
    assert "\n" not in record.getMessage()
    assert list(tmp_path.iterdir()) == []


def test_settings_have_dotted_names() -> None:
    nested = {"seed": 0, "training": {"epochs": 5, "inner": {"taps": ["a"]}}, "empty": {}}
    assert dict(flatten(nested)) == {"seed": 0, "training.epochs": 5, "training.inner.taps": ["a"]}


def test_metrics_have_names_that_mlflow_takes(tmp_path: Path) -> None:
    model, genres = ModelFolder(tmp_path), ["Sci-Fi", "Children's|Family"]
    scores = {"precision": 0.5, "recall": 1.0, "threshold": 0.25, "calibration_error": 0.125}
    metrics = {
        "vocabulary": genres,
        "model": {
            "macro_f1": 0.75,
            "micro_f1": 0.5,
            "macro_f1_interval": [0.7, 0.8],
            "validation_macro_f1": 0.6,
            "training_seconds": 3.0,
            "genres": {genre: {**scores, "f1": number / 4} for number, genre in enumerate(genres)},
        },
        "baselines": {"seed": {"macro_f1": 0.25}},
    }
    model.metrics_path.write_text(json.dumps(metrics))
    targets = np.array([[1, 0], [0, 0]], np.uint8)
    write_predictions(model.predictions_path, [1, 2], targets, targets == 1, np.array([[0.2, 0.1], [0.4, 0.1]], "f4"))
    found = dict(list_metrics(model))
    assert {name: found[name] for name in ("f1/Sci-Fi", "f1/Children_s_Family")} == {
        "f1/Sci-Fi": 0.0,
        "f1/Children_s_Family": 0.25,
    }
    assert found["average_precision/Sci-Fi"] == 0.5  # the second of two films
    assert "average_precision/Children_s_Family" not in found
    assert (found["macro_f1_lower"], found["macro_f1_upper"], found["macro_f1 of seed"]) == (0.7, 0.8, 0.25)
