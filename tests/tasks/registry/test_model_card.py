"""The card of figures that are written in `support/metrics.py`, word for word."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from metrics import make_metrics

from tasks.registry.model_card import render_model_card
from tasks.settings import EvaluationSettings, ExportSettings, Settings

EXPECTED = Path(__file__).with_name("expected_model_card.md")


@pytest.fixture
def manifest() -> dict[str, Any]:
    return {
        "id": "20261127-101540-8becdf",
        "recipe": "default (altered)",
        "genres": ["Comedy", "*War*"],
        "num_views": 2,
        "inputs": {"packages": {"poster-genres": "0.1.0"}},
        "provenance": {"catalog_sha256": "0123456789abcdef", "git": {"revision": "f291411"}},
    }


def test_card_is_word_for_word_as_expected(manifest: dict[str, Any]) -> None:
    assert render_model_card(manifest, make_metrics(), Settings()) == EXPECTED.read_text("utf-8")


def test_metadata_are_those_of_the_hugging_face_hub(manifest: dict[str, Any]) -> None:
    _, metadata, text = render_model_card(manifest, make_metrics(), Settings()).split("---\n", maxsplit=2)
    parsed = yaml.safe_load(metadata)
    assert parsed["pipeline_tag"] == "image-classification"
    (model,) = parsed["model-index"]
    assert model["name"] == "20261127-101540-8becdf"
    # The Hub requires these of each result.
    (result,) = model["results"]
    assert {"type", "name"} == result["task"].keys()
    assert {"type", "name", "split"} == result["dataset"].keys()
    assert [(metric["name"], metric["value"]) for metric in result["metrics"]] == [
        ("macro-F1", 0.46),
        ("micro-F1", 0.56),
    ]
    assert text.startswith("\n# Film genres from posters\n")


def test_what_is_not_known_is_left_out(manifest: dict[str, Any]) -> None:
    manifest["num_views"], manifest["provenance"]["git"]["revision"] = 1, None
    metrics = make_metrics()
    del metrics["catalog"]
    metrics["decades"] = {}
    settings = Settings(evaluation=EvaluationSettings(thumbnails=False), export=ExportSettings(tflite=False))
    card = render_model_card(manifest, metrics, settings)
    assert "none is part of the model. The pipeline" in card
    assert "tflite" not in card
    assert "onnx" not in card
    assert "By poster-genres 0.1.0, default recipe (altered): " in card
    assert "pixels in one view." in card
    assert "decade" not in card
    assert "corrected" not in card
