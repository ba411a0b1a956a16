"""Predict genres with a published model."""

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from tasks.errors import RegistryError
from tasks.features.litert import LiteRTNetwork
from tasks.features.numpy_preprocessing import prepare_images
from tasks.model_folder import LABELS_MEMBER, ModelFolder
from tasks.outputs.decisions import DecisionRule
from tasks.outputs.genres import GenresOutput
from tasks.outputs.operating_points import list_thresholds
from tasks.outputs.output import Output, find_output_classes, split_columns
from tasks.prediction.explanation import Explanation, measure_evidence

if TYPE_CHECKING:
    from tasks.prediction.saved_model import Embedded

# From JPEG or PNG files to a row of numbers each.
PredictColumns = Callable[[Sequence[bytes]], NDArray[np.float32]]


@dataclass(frozen=True)
class Prediction:
    """A model's prediction for one poster.

    Attributes:
        labels: Genres, in the model's order.
        confidences: Their confidences; a genre is predicted where it is over 0.5, and at least one.
        calibrated: Their calibrated probabilities; empty for a model of version 0.1.0, which has none beside
            `classifier.tflite`.
        others: Further outputs of the model by name: `decade`, `score`.
    """

    labels: list[str]
    confidences: list[float]
    calibrated: list[float] = field(default_factory=list)
    others: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shares(self) -> list[float]:
        """What a person is shown of each genre: its probability, of a model that has none its confidence."""
        return self.calibrated or self.confidences

    def as_dict(self) -> dict[str, Any]:
        """Returns all fields by name."""
        named = {"labels": self.labels, "confidences": self.confidences, "calibrated": self.calibrated}
        return {**named, **self.others}


class Predictor:
    """A published model that predicts.

    Args:
        model: Folder of the model.
        precision: Precision at which genres are predicted; None: over a confidence of 0.5.
        num_cores: Number of cores that LiteRT takes; None: all of this process.

    Raises:
        RegistryError: The model has no thresholds for this precision.
    """

    def __init__(self, model: ModelFolder, precision: float | None = None, num_cores: int | None = None) -> None:
        self._model = model
        self._num_cores = num_cores
        self._thresholds = None if precision is None else _read_thresholds(model, precision)

    @classmethod
    def open(cls, folder: Path, precision: float | None = None, num_cores: int | None = None) -> Self:
        """Opens the model of a folder: by LiteRT, or where it has no `classifier.tflite` by TensorFlow, more slowly.

        Raises:
            RegistryError: The folder has no model, or the model no thresholds for this precision.
        """
        model = ModelFolder(folder)
        if not model.lite_path.is_file() and not model.saved_model_path.is_dir():
            names = f"{model.lite_path.name} nor {model.saved_model_path.name}"
            raise RegistryError(f"{folder} has neither {names}: publish the model again")
        return cls(model, precision, num_cores)

    @cached_property
    def _engine(self) -> tuple[list[Output], PredictColumns]:
        """The outputs that have columns, and the function that computes these; loaded at the first prediction."""
        lite = self._model.lite_path
        if lite.is_file():
            # The export compared its predictions with the SavedModel's; it takes a fraction of the time.
            names = _read_column_names(lite) or self._model.genres
            found = [output.from_column_names(names) for output in find_output_classes()]
            outputs = [output for output in found if output]
            predict_columns: PredictColumns = self._network.predict_images
        else:
            from tasks.prediction.saved_model import open_saved_model

            outputs, predict_columns = open_saved_model(self._model.saved_model_path)
        return [self._with_decision(output) for output in outputs], predict_columns

    @cached_property
    def _network(self) -> LiteRTNetwork:
        return LiteRTNetwork(self._model.lite_path.read_bytes(), self._num_cores)

    def _with_decision(self, output: Output) -> Output:
        """Returns the genres with the model's rule and calibration, any other output as it is."""
        if not isinstance(output, GenresOutput):
            return output
        decision = self._model.decision_path
        if decision.is_file():
            output = GenresOutput.from_config(json.loads(decision.read_text("utf-8")))
        else:  # a model of version 0.1.0
            top_k = json.loads(self._model.settings_path.read_text("utf-8"))["export"]["top_k"]
            output = output.with_rule(DecisionRule("confidences", top_k))
        return output if self._thresholds is None else output.with_operating_thresholds(self._thresholds)

    def predict(self, images: Sequence[bytes]) -> list[Prediction]:
        """Returns the prediction for each of some JPEG or PNG files.

        Raises:
            NotAPosterError: One of them cannot be decoded.
        """
        outputs, predict_columns = self._engine
        columns = split_columns(outputs, predict_columns(images))
        decoded = [output.decode(part) for output, part in zip(outputs, columns, strict=True)]
        rows = ({key: value for part in row for key, value in part.items()} for row in zip(*decoded, strict=True))
        return [Prediction(row.pop("labels"), row.pop("confidences"), row.pop("calibrated"), row) for row in rows]

    def explain(self, image: bytes, labels: Sequence[str]) -> Explanation:
        """Returns where in a JPEG or PNG file the evidence for some genres is; some dozens of predictions.

        Raises:
            NotAPosterError: It cannot be decoded.
            RegistryError: The model has no `classifier.tflite`.
        """
        if not self._model.lite_path.is_file():
            raise RegistryError(
                f"{self._model.path} has no {self._model.lite_path.name}, which heat maps need: publish a model with "
                "export.tflite=true"
            )
        network, (genres, *_) = self._network, self._engine[0]
        columns = [genres.column_names.index(label) for label in labels]
        (pixels,) = prepare_images([image], network.image_size)
        evidence = measure_evidence(
            pixels, lambda images: network.map_batches(network.predict_pixels, images)[:, columns]
        )
        return Explanation(list(labels), evidence)

    def embed(self, images: Sequence[bytes]) -> "Embedded":
        """Returns embeddings of JPEG or PNG files, and how unlike the training posters they are; with TensorFlow.

        Raises:
            NotAPosterError: One of them cannot be decoded.
        """
        from tasks.prediction.saved_model import embed_images

        return embed_images(self._model.saved_model_path, images)


def _read_column_names(lite: Path) -> list[str]:
    """Returns the names of a LiteRT model's columns; none for a model of an early version, which has genres alone."""
    if not zipfile.is_zipfile(lite):
        return []
    with zipfile.ZipFile(lite) as archive:
        return archive.read(LABELS_MEMBER).decode().splitlines()


def _read_thresholds(model: ModelFolder, precision: float) -> NDArray[np.float32]:
    """Returns the threshold of each genre for a precision."""
    path = model.operating_points_path
    if not path.is_file():
        raise RegistryError(
            f"{model.path} has no {path.name}, it was published by an earlier version: publish a model again, or leave "
            "out --precision"
        )
    points = json.loads(path.read_text("utf-8"))["genres"]
    try:
        return list_thresholds(points, str(float(precision)))
    except KeyError as error:
        known = ", ".join(next(iter(points.values())))
        raise RegistryError(f"{model.path} has no thresholds for precision {precision:g}: expected {known}") from error
