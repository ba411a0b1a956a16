"""The folder of a published model: the names of its files, and the manifest that lists them to the byte."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from tasks.atomic import write_text
from tasks.errors import RegistryError
from tasks.hashing import describe_file, find_damage

MANIFEST = "manifest.json"
# The zip member of the LiteRT model with the names of its columns; LiteRT's own tools give labels this name.
LABELS_MEMBER = "labels.txt"
# Folder of an evaluation with its charts as SVG, which are parts of report.html; a published model has none.
SVG_FOLDER = "charts"
_NO_VERDICT = "its manifest has no result of the gate"


@dataclass(frozen=True)
class ModelFolder:
    """A model on disk. Files that a model lacks, such as an index that was not written, have a path all the same.

    Attributes:
        path: Folder of the model.
    """

    path: Path

    @property
    def id(self) -> str:
        """Name of the folder; in a registry and in a store, the id of the model."""
        return self.path.name

    @property
    def is_published(self) -> bool:
        """Whether there is a manifest, which is written last."""
        return self.manifest_path.is_file()

    @property
    def saved_model_path(self) -> Path:
        """TensorFlow SavedModel, a folder."""
        return self.path / "saved_model"

    @property
    def keras_path(self) -> Path:
        """The same model in Keras's own format."""
        return self.path / "classifier.keras"

    @property
    def lite_path(self) -> Path:
        """The same model in LiteRT's format."""
        return self.path / "classifier.tflite"

    @property
    def onnx_path(self) -> Path:
        """The same model in ONNX's format."""
        return self.path / "classifier.onnx"

    @property
    def head_path(self) -> Path:
        """Keras model from features to outputs."""
        return self.path / "head.keras"

    @property
    def num_views(self) -> int:
        """Number of views over which the model's predictions are averaged; 1 for a model of an earlier version."""
        return int(self.read_manifest().get("num_views", 1))

    @property
    def index_path(self) -> Path:
        """Similarity index: embeddings of the training films."""
        return self.path / "index.parquet"

    @property
    def decision_path(self) -> Path:
        """How genres are decided: names, rule and calibration, as `GenresOutput.get_config` describes them, as JSON."""
        return self.path / "decision.json"

    @property
    def operating_points_path(self) -> Path:
        """Thresholds of the genres by precision, as JSON; see `tasks.training.operating_points`."""
        return self.path / "operating_points.json"

    @property
    def films_path(self) -> Path:
        """`films.parquet` of the data set that the model was trained on."""
        return self.path / "films.parquet"

    @property
    def labels_path(self) -> Path:
        """Genres, as a JSON list."""
        return self.path / "labels.json"

    @property
    def settings_path(self) -> Path:
        """Settings of the run."""
        return self.path / "settings.json"

    @property
    def versions_path(self) -> Path:
        """Versions of Python and of the packages."""
        return self.path / "versions.json"

    @property
    def metrics_path(self) -> Path:
        """Figures of the evaluation."""
        return self.path / "metrics.json"

    @property
    def statistics_path(self) -> Path:
        """Statistics of the films, posters and predictions, with which the next model's are compared."""
        return self.path / "statistics.json"

    @property
    def report_path(self) -> Path:
        """Report of the evaluation as Markdown, with its charts beside it."""
        return self.path / "report.md"

    @property
    def html_report_path(self) -> Path:
        """The report as one page of HTML; models of earlier versions have none."""
        return self.path / "report.html"

    @property
    def best_report_path(self) -> Path:
        """The report that a person would open: the page, or where there is none the Markdown."""
        return self.html_report_path if self.html_report_path.exists() else self.report_path

    @property
    def predictions_path(self) -> Path:
        """Predictions for the test films, with their targets; see `tasks.evaluation.predictions`."""
        return self.path / "predictions.parquet"

    @property
    def card_path(self) -> Path:
        """Model card: what the model is for, where it fails, how it was made and how it is used."""
        return self.path / "MODEL_CARD.md"

    @property
    def label_errors_path(self) -> Path:
        """Likely label errors of the catalog."""
        return self.path / "label_errors.csv"

    @property
    def manifest_path(self) -> Path:
        """Description of the model, with the hash and the size of each other file."""
        return self.path / MANIFEST

    @cached_property
    def genres(self) -> list[str]:
        """Genres, in the order of the model's columns; raises `RegistryError` if the file is missing or broken."""
        try:
            return [str(genre) for genre in json.loads(self.labels_path.read_text("utf-8"))]
        except (FileNotFoundError, ValueError, TypeError) as error:
            raise RegistryError(f"{self.labels_path} is no list of genres: pull or publish the model again") from error

    @cached_property
    def features(self) -> str:
        """Name of the folder of cached features that the model was trained on; "" if the manifest lacks it."""
        return str(self.read_manifest().get("features", ""))

    @cached_property
    def gate_reasons(self) -> str:
        """Reasons for which the model became champion or not, in one line."""
        gate = self.read_manifest().get("gate")
        return str(gate.get("reasons", _NO_VERDICT)) if isinstance(gate, dict) else _NO_VERDICT

    def read_metrics(self) -> dict[str, Any]:
        """Returns the content of `metrics.json`."""
        return dict(json.loads(self.metrics_path.read_text("utf-8")))

    def read_manifest(self) -> dict[str, Any]:
        """Returns the manifest; raises as `parse_manifest`, and `OSError` if there is none."""
        return parse_manifest(self.manifest_path.read_bytes(), str(self.manifest_path))

    def write_manifest(self, description: Mapping[str, Any]) -> None:
        """Writes the manifest: the description, and under `files` the other files as they are now."""
        self._write_manifest({**description, "files": self._describe_files()})

    def update_manifest(self, changes: Mapping[str, Any]) -> None:
        """Replaces entries of the manifest; the files stay as they are."""
        self._write_manifest({**self.read_manifest(), **changes})

    def _write_manifest(self, manifest: Mapping[str, Any]) -> None:
        write_text(self.manifest_path, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")

    def verify(self) -> dict[str, Any]:
        """Compares every file with the manifest, and returns the manifest.

        Raises:
            RegistryError: if a file is missing, truncated or altered; names the first.
        """
        manifest = self.read_manifest()
        for name, expected in manifest["files"].items():
            if problem := find_damage(self.path / name, expected):
                raise RegistryError(f"{self.path / name} {problem}: pull the model again")
        return manifest

    def _describe_files(self) -> dict[str, dict[str, Any]]:
        return {
            path.relative_to(self.path).as_posix(): describe_file(path)
            for path in sorted(self.path.rglob("*"))
            if path.is_file() and path.name != MANIFEST
        }


class _File(BaseModel):
    """A file of a model, as its manifest describes it."""

    sha256: str
    num_bytes: int = Field(ge=0)


class _Manifest(BaseModel):
    """What a manifest has at least."""

    id: str
    files: dict[str, _File]


def parse_manifest(text: str | bytes, where: str) -> dict[str, Any]:
    """Returns the content of a manifest.

    Args:
        text: Content of the file.
        where: Its path or address, for messages.

    Raises:
        RegistryError: if the text is not a manifest, or names a file outside the model's folder.
    """
    try:
        described = _Manifest.model_validate_json(text, strict=True)
    except ValueError as error:
        raise RegistryError(
            f"{where} is not a manifest of a model: expected JSON with its id, and the files with their sha256 and "
            "num_bytes"
        ) from error
    names = [Path(name) for name in described.files]
    if any(name.is_absolute() or ".." in name.parts for name in names):
        raise RegistryError(f"{where} is not a manifest of a model: expected a relative name for each file")
    manifest: dict[str, Any] = json.loads(text)
    return manifest
