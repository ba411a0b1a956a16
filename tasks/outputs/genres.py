"""Genres: a probability for each; none, one or several may be true of a film."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from tasks.outputs.calibration import Calibration
from tasks.outputs.output import Films, Output, OutputContext, find_output_class
from tasks.settings import OUTPUTS, LossName

if TYPE_CHECKING:
    import keras
    import pyarrow as pa
    import tensorflow as tf

    from tasks.outputs.labels import TopLabels

# The layer under the genres' sigmoid: calibration and thresholds are folded into its weights.
LOGITS = "logits"
CONFIDENCES = "confidences"


@dataclass(frozen=True)
class GenresOutput(Output):
    """The genres. A head returns confidences; the network of the exported model returns their logits.

    Attributes:
        genres: Names, in the order of the columns.
        top_k: Number of labels in a prediction; None: all.
        calibration: What was folded into the logits; None before.
        loss_name: Name of the loss, as `training.loss`.
    """

    name = "genres"
    curve = ("macro_f1", "genres: macro-F1 at a raw 0.5")

    genres: Sequence[str]
    top_k: int | None = None
    calibration: Calibration | None = None
    loss_name: LossName = "soft_f1"

    @classmethod
    def from_context(cls, context: OutputContext) -> Self:
        return cls(context.genres, loss_name=context.training.loss, weight=context.get_weight(cls.name))

    def get_config(self) -> dict[str, Any]:
        calibration = self.calibration.get_config() if self.calibration else None
        return {"genres": list(self.genres), "top_k": self.top_k, "calibration": calibration}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        calibration = Calibration.from_config(config["calibration"]) if config["calibration"] else None
        return cls(config["genres"], config["top_k"], calibration)

    def with_calibration(self, calibration: Calibration) -> Self:
        """Returns the output whose logits had this folded into them."""
        return dataclasses.replace(self, calibration=calibration)

    def with_top_k(self, top_k: int) -> Self:
        """Returns the output that predicts so many labels, or all if there are fewer."""
        return dataclasses.replace(self, top_k=min(top_k, len(self.genres)))

    @property
    def num_columns(self) -> int:
        return len(self.genres)

    @property
    def target_spec(self) -> tuple[str, int]:
        return "uint8", len(self.genres)

    @cached_property
    def loss(self) -> "keras.losses.Loss":
        from tasks.outputs.losses import make_loss

        return make_loss(self.loss_name)

    @cached_property
    def metrics(self) -> "list[keras.metrics.Metric]":
        from tasks.outputs.metrics import F1ByLabel, PrecisionByLabel, RecallByLabel, make_macro_f1

        by_label = (PrecisionByLabel, RecallByLabel, F1ByLabel)
        return [make_macro_f1(len(self.genres)), *(metric(self.genres) for metric in by_label)]

    def build(self, hidden: "keras.KerasTensor") -> "keras.KerasTensor":
        import keras

        logits = keras.layers.Dense(self.num_columns, name=LOGITS)(hidden)
        return keras.layers.Activation("sigmoid", name=CONFIDENCES)(logits)

    def read_targets(self, films: Films) -> NDArray[np.uint8]:
        return films.genre_targets

    @property
    def column_names(self) -> list[str]:
        return list(self.genres)

    def to_columns(self, values: "keras.KerasTensor") -> "keras.KerasTensor":
        import keras

        return keras.ops.sigmoid(values)

    @cached_property
    def _top_labels(self) -> "TopLabels":
        from tasks.outputs.labels import TopLabels

        return TopLabels(self.genres, self.top_k or len(self.genres), name="top_labels")

    def serve(self, values: "tf.Tensor") -> "dict[str, tf.Tensor]":
        return dict(self._top_labels(self.to_columns(values)))

    def serve_all(self, values: "tf.Tensor") -> "dict[str, tf.Tensor]":
        import tensorflow as tf

        if self.calibration is None:
            raise ValueError("expected an output whose calibration is known. Received: calibration=None")
        return {
            "genres": tf.constant(self.genres),
            "confidences": tf.sigmoid(values),
            "calibrated": tf.sigmoid(values + self.calibration.thresholds),
            "probabilities": tf.sigmoid(self.calibration.unfold(values)),
        }

    def compare_served(self, served: Mapping[str, list[Any]], columns: NDArray[np.float32]) -> float:
        return compare_labels(served["labels"], served["confidences"], columns, self.genres)

    @classmethod
    def from_column_names(cls, names: Sequence[str]) -> Self:
        """Returns the output whose genres are the columns that no other output has."""
        others = [find_output_class(name).from_column_names(names) for name in OUTPUTS if name != cls.name]
        taken = {name for output in others if output for name in output.column_names}
        return cls([name for name in names if name not in taken])

    @classmethod
    def from_served(cls, served: Mapping[str, NDArray[Any]]) -> tuple[Self, NDArray[np.float32]]:
        return cls([name.decode() for name in served["genres"]]), served["confidences"]

    def decode(self, columns: NDArray[np.float32]) -> list[dict[str, Any]]:
        # As TopLabels orders them: of equal confidences the first column comes first.
        best = np.argsort(-columns, axis=1, kind="stable")[:, : self.top_k]
        confidences = np.take_along_axis(columns, best, axis=1).tolist()
        return [
            {"labels": [self.genres[column] for column in row], "confidences": values}
            for row, values in zip(best.tolist(), confidences, strict=True)
        ]

    @classmethod
    def prediction_fields(cls) -> "list[pa.Field]":
        import pyarrow as pa

        return [
            pa.field("labels", pa.list_(pa.string()), nullable=False),  # best first
            pa.field("confidences", pa.list_(pa.float32()), nullable=False),  # of the labels
        ]


def compare_labels(
    labels: Sequence[Sequence[str]],
    confidences: Sequence[Sequence[float]],
    expected: NDArray[np.float32],
    names: Sequence[str],
) -> float:
    """Returns the largest difference between the k best labels of posters and the expected ones.

    That is of each label's confidence from the one expected for it, and of the k confidences from the k highest
    expected. (Two labels that are nearly equal may be in either order.)

    Args:
        labels: The best k of each poster.
        confidences: Confidences of the labels.
        expected: Confidences of all labels, shape `(num_posters, len(names))`.
        names: All labels, in the order of the columns.
    """
    columns = {name: column for column, name in enumerate(names)}
    served = np.array(confidences)
    chosen = np.array([[columns[label] for label in row] for row in labels])
    expected_of_labels = np.take_along_axis(expected, chosen, axis=1)
    highest = -np.sort(-expected, axis=1)[:, : served.shape[1]]
    return float(np.maximum(np.abs(served - expected_of_labels), np.abs(served - highest)).max())
