import json
from pathlib import Path

import pytest

from tasks.errors import RegistryError
from tasks.model_folder import ModelFolder, parse_manifest


@pytest.fixture
def model(tmp_path: Path) -> ModelFolder:
    model = ModelFolder(tmp_path / "20260101-120000-abcdef")
    model.saved_model_path.mkdir(parents=True)
    (model.saved_model_path / "saved_model.pb").write_bytes(b"graph")
    model.labels_path.write_text('["Comedy", "Drama"]')
    model.metrics_path.write_text('{"recipe": "seed"}')
    model.write_manifest({"id": model.id, "features": "mobilenet", "gate": {"reasons": "passed"}})
    return model


def test_files_have_the_names_of_version_0_1() -> None:
    model = ModelFolder(Path("models/m1"))
    names = {
        "saved_model": model.saved_model_path,
        "classifier.keras": model.keras_path,
        "classifier.tflite": model.lite_path,
        "classifier.onnx": model.onnx_path,
        "head.keras": model.head_path,
        "index.parquet": model.index_path,
        "films.parquet": model.films_path,
        "labels.json": model.labels_path,
        "settings.json": model.settings_path,
        "versions.json": model.versions_path,
        "metrics.json": model.metrics_path,
        "report.md": model.report_path,
        "label_errors.csv": model.label_errors_path,
        "manifest.json": model.manifest_path,
    }
    assert {name: Path("models/m1") / name for name in names} == names


def test_content(model: ModelFolder) -> None:
    assert model.id == "20260101-120000-abcdef"
    assert (model.genres, model.features, model.gate_reasons) == (["Comedy", "Drama"], "mobilenet", "passed")
    assert model.read_metrics() == {"recipe": "seed"}
    assert model.is_published
    model.manifest_path.unlink()
    assert not model.is_published


def test_the_manifest_lists_every_other_file(model: ModelFolder) -> None:
    files = model.verify()["files"]
    assert set(files) == {"saved_model/saved_model.pb", "labels.json", "metrics.json"}
    assert files["saved_model/saved_model.pb"] == {
        "sha256": "eef93e1d14482804277fca0172464032d1a4fdbcc338524059fa1e861454ad4d",
        "num_bytes": 5,
    }


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "abcdef/labels.json is missing: pull the model again"),
        ("[]", r"labels.json is damaged \(2 bytes, expected 19\): pull the model again"),
        ('["Comedy", "Xrama"]', r"labels.json is damaged \(its sha256 is another"),
    ],
)
def test_a_changed_file_is_named(model: ModelFolder, content: str | None, says: str) -> None:
    model.labels_path.unlink()
    if content is not None:
        model.labels_path.write_text(content)
    with pytest.raises(RegistryError, match=says):
        model.verify()


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[]",
        '{"files": {}}',
        '{"id": "x", "files": {"a": {}}}',
        '{"id": "x", "files": {"../a": {"sha256": "0", "num_bytes": 1}}}',
        '{"id": "x", "files": {"/etc/a": {"sha256": "0", "num_bytes": 1}}}',
    ],
)
def test_texts_that_are_not_manifests(text: str) -> None:
    with pytest.raises(RegistryError, match="here is not a manifest"):
        parse_manifest(text, "here")


def test_manifests_of_version_0_1_are_read() -> None:
    manifest = {"id": "m1", "format": 1, "made_of": "0123", "files": {"a": {"sha256": "0", "num_bytes": 1}}}
    assert parse_manifest(json.dumps(manifest), "here") == manifest
