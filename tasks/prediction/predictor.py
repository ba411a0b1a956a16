"""Predict genres with a published model."""

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tasks.errors import RegistryError
from tasks.features.litert import LiteRTNetwork
from tasks.model_folder import LABELS_MEMBER, ModelFolder
from tasks.outputs.output import Output, find_output_classes, split_columns

# From JPEG or PNG files to a row of numbers each.
PredictColumns = Callable[[Sequence[bytes]], NDArray[np.float32]]


@dataclass(frozen=True)
class Prediction:
    """A model's prediction for one poster.

    Attributes:
        labels: Genres, most confident first.
        confidences: Their confidences; a genre is predicted where it is over 0.5.
        others: Further outputs of the model by name: `decade`, `score`.
    """

    labels: list[str]
    confidences: list[float]
    others: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Returns all fields by name."""
        return {"labels": self.labels, "confidences": self.confidences, **self.others}


class Predictor:
    """A published model that predicts.

    Args:
        model: Folder of the model.
        top_k: Number of labels in a prediction.
    """

    def __init__(self, model: ModelFolder, top_k: int) -> None:
        self._model = model
        self._top_k = top_k

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Opens the model of a folder: by LiteRT, or where it has no `classifier.tflite` by TensorFlow, more slowly.

        Raises:
            RegistryError: The folder has no model.
        """
        model = ModelFolder(folder)
        if not model.lite_path.is_file() and not model.saved_model_path.is_dir():
            names = f"{model.lite_path.name} nor {model.saved_model_path.name}"
            raise RegistryError(f"{folder} has neither {names}: publish the model again")
        return cls(model, json.loads(model.settings_path.read_text("utf-8"))["export"]["top_k"])

    @cached_property
    def _engine(self) -> tuple[list[Output], PredictColumns]:
        """The outputs that have columns, and the function that computes these; loaded at the first prediction."""
        lite = self._model.lite_path
        if lite.is_file():
            # The export compared its predictions with the SavedModel's; it takes a fraction of the time.
            names = _read_column_names(lite) or self._model.genres
            found = [output.from_column_names(names) for output in find_output_classes()]
            outputs = [output for output in found if output]
            predict_columns: PredictColumns = LiteRTNetwork(lite.read_bytes()).predict_images
        else:
            from tasks.prediction.saved_model import open_saved_model

            outputs, predict_columns = open_saved_model(self._model.saved_model_path)
        return [output.with_top_k(self._top_k) for output in outputs], predict_columns

    def predict(self, images: Sequence[bytes]) -> list[Prediction]:
        """Returns the prediction for each of some JPEG or PNG files.

        Raises:
            NotAPosterError: One of them cannot be decoded.
        """
        outputs, predict_columns = self._engine
        columns = split_columns(outputs, predict_columns(images))
        decoded = [output.decode(part) for output, part in zip(outputs, columns, strict=True)]
        rows = ({key: value for part in row for key, value in part.items()} for row in zip(*decoded, strict=True))
        return [Prediction(row.pop("labels"), row.pop("confidences"), row) for row in rows]

    def embed(self, images: Sequence[bytes]) -> NDArray[np.float32]:
        """Returns embeddings of JPEG or PNG files, of length 1, shape `(len(images), size)`; with TensorFlow.

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
