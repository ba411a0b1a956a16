"""The code of a model in MLflow, which stores this file beside the SavedModel: neither needs this project.

It is run by MLflow's loader, and imported by nothing here.
"""

from typing import Any

import mlflow
import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray


class PosterGenres(mlflow.pyfunc.PythonModel):
    """The signature `serving_default` of the SavedModel, from image files to a row of predictions for each."""

    def load_context(self, context: Any) -> None:
        """Loads the SavedModel."""
        # Kept, since the signature does not keep it.
        self._loaded = tf.saved_model.load(context.artifacts["saved_model"])
        self._serve = self._loaded.signatures["serving_default"]

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """Predicts genres, and the other outputs of the model.

        Args:
            context: MLflow's; not used.
            model_input: JPEG or PNG files as bytes, in the column `image_bytes`.
            params: MLflow's; not used.

        Returns:
            A row for each file: `labels`, the genres; `confidences` and `calibrated`, probabilities of these; `error`,
            "" or why the file can't be decoded; and those of further outputs.
        """
        files = [bytes(content) for content in model_input["image_bytes"]]
        tensors = self._serve(image_bytes=tf.constant(files, tf.string, [len(files)]))
        columns = {name: tensor.numpy() for name, tensor in tensors.items()}
        # Rows are padded with empty labels to the same length.
        lengths = (columns["labels"] != b"").sum(axis=1)
        return pd.DataFrame({name: _to_rows(values, lengths) for name, values in columns.items()})


def _to_rows(values: NDArray[Any], lengths: NDArray[np.int64]) -> list[Any]:
    """Returns the values of each film, of a list of values as many as it has labels."""
    if values.ndim == 1:
        return [_to_plain(value) for value in values]
    return [[_to_plain(value) for value in row[:length]] for row, length in zip(values, lengths, strict=True)]


def _to_plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value.item()


mlflow.models.set_model(PosterGenres())
