"""A model as an ONNX file, run by ONNX Runtime: `make trackers`."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from flows.train import Run, train
from tasks.export.onnx_file import predict_onnx
from tasks.prediction.images import process_images
from tasks.prediction.predictor import Predictor
from tasks.sample.server import serve
from tasks.settings import EvaluationSettings, ExportSettings, HeadSettings, PosterSettings, TrainingSettings

pytestmark = [pytest.mark.trackers, pytest.mark.backbone]

DOCS = Path(__file__).resolve().parents[2] / "docs" / "model.md"


@dataclass(frozen=True)
class OnnxRun:
    run: Run
    posters: list[Path]


@pytest.fixture(scope="module")
def onnx_run(small_run, tmp_path_factory: pytest.TempPathFactory) -> OnnxRun:
    """The small run's posters again, with all outputs and two views."""
    folder = tmp_path_factory.mktemp("onnx")
    shutil.copytree(small_run.data_dir, folder / "data")
    changes = {
        "data_dir": folder / "data",
        "artifacts_dir": folder / "artifacts",
        "features": small_run.settings.features.model_copy(update={"views": 2}),
        "training": TrainingSettings(recipe="fast", epochs=15, num_heads=2),
        "heads": HeadSettings(decade=0.2, score=0.05, embedding=1.0, embedding_size=16),
        "evaluation": EvaluationSettings(baselines=(), label_error_folds=None),
        "export": ExportSettings(views=2, index=False, onnx=True),
    }
    with serve(small_run.data_dir / "site", small_run.port):
        return OnnxRun(train(small_run.settings.model_copy(update=changes)), small_run.posters[:5])


def test_the_file_agrees_with_the_saved_model(onnx_run: OnnxRun) -> None:
    manifest = onnx_run.run.model.verify()
    assert "classifier.onnx" in manifest["files"]
    check = manifest["export_check"]["onnx"]
    assert (check["posters"], check["differing_decisions"], check["top_1_agreement"]) == (24, 0, 1.0)
    assert 0 <= check["largest_difference"] < 1e-3
    assert "`classifier.onnx` is the same model" in onnx_run.run.model.card_path.read_text("utf-8")


def test_its_columns_are_those_of_the_lite_file(onnx_run: OnnxRun) -> None:
    model = onnx_run.run.model
    columns = predict_onnx(model.onnx_path, [path.read_bytes() for path in onnx_run.posters])
    names = [str(path) for path in onnx_run.posters]
    predictor = Predictor.open(model.path)
    expected = [result.result for result in process_images(names, predictor.predict, PosterSettings())]
    for row, prediction in zip(columns, expected, strict=True):
        confidences = dict(zip(model.genres, row, strict=False))
        assert {genre for genre in model.genres if confidences[genre] > 0.5} <= set(prediction.labels)
        np.testing.assert_allclose(
            [confidences[genre] for genre in prediction.labels], prediction.confidences, atol=1e-4
        )
        assert row[-1] == pytest.approx(prediction.others["score"], abs=1e-3)


def test_the_code_of_the_document_needs_no_tensorflow(onnx_run: OnnxRun, tmp_path: Path) -> None:
    (code,) = re.findall(r"^```py\n(.*?)^```$", DOCS.read_text("utf-8"), re.S | re.M)
    (tmp_path / "model").symlink_to(onnx_run.run.model.path)
    shutil.copy2(onnx_run.posters[0], tmp_path / "poster.jpg")
    code += "\nimport sys\nassert not {'tasks', 'flows', 'tensorflow', 'onnx'} & set(sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=300, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(f"'{genre}': " in done.stdout for genre in onnx_run.run.model.genres)
    assert "'score': " in done.stdout
