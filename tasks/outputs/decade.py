"""The decade of a film: a probability for each of those of the training split, one of which is true."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DatasetError
from tasks.outputs.agreement import compare_labels
from tasks.outputs.output import MEAN_OVER_PRESENT, UNINFORMED_INITIALIZER, Films, Output, OutputContext

if TYPE_CHECKING:
    import keras
    import pyarrow as pa
    import tensorflow as tf

    from tasks.outputs.labels import BestLabel

_PREFIX = "decade "


@dataclass(frozen=True)
class DecadeOutput(Output):
    """The decade of the year in the title; learned by cross-entropy. Films without a year have no target.

    Attributes:
        decades: First years, ascending, in the order of the columns.
    """

    name = "decade"
    curve = ("decade_accuracy", "decade: accuracy")

    decades: Sequence[int]

    @classmethod
    def from_context(cls, context: OutputContext) -> Self:
        decades = _find_decades(_read_years(context.train))
        if not decades.size:
            raise DatasetError(
                "no film of the training split has a year, which the output `decade` learns: expected a year in the "
                "title, such as (1994)"
            )
        return cls(decades.tolist(), weight=context.get_weight(cls.name))

    def get_config(self) -> dict[str, Any]:
        return {"decades": list(self.decades)}

    @property
    def num_columns(self) -> int:
        return len(self.decades)

    @property
    def target_spec(self) -> tuple[str, int]:
        return "int32", 1

    @cached_property
    def loss(self) -> "keras.losses.Loss":
        import keras

        return keras.losses.SparseCategoricalCrossentropy(reduction=MEAN_OVER_PRESENT)

    @cached_property
    def metrics(self) -> "list[keras.metrics.Metric]":
        import keras

        return [keras.metrics.SparseCategoricalAccuracy(name="decade_accuracy")]

    def build(self, hidden: "keras.KerasTensor") -> "keras.KerasTensor":
        import keras

        layer = keras.layers.Dense(
            self.num_columns, "softmax", kernel_initializer=UNINFORMED_INITIALIZER, name=self.name
        )
        return layer(hidden)

    def read_targets(self, films: Films) -> NDArray[np.int32]:
        """Returns the column of each film's decade; -1 without a year, or for a decade that has no column."""
        columns = {decade: column for column, decade in enumerate(self.decades)}
        decades = (_read_years(films) // 10 * 10).tolist()
        return np.array([[columns.get(decade, -1)] for decade in decades], np.int32)

    def select_present(self, targets: "tf.Tensor") -> "tuple[tf.Tensor, tf.Tensor]":
        import tensorflow as tf

        return tf.maximum(targets, 0), tf.cast(targets[:, 0] >= 0, tf.float32)

    @cached_property
    def labels(self) -> list[str]:
        """The names of the decades: `1990s`."""
        return [f"{decade}s" for decade in self.decades]

    @property
    def column_names(self) -> list[str]:
        return [f"{_PREFIX}{label}" for label in self.labels]

    @cached_property
    def _best_label(self) -> "BestLabel":
        from tasks.outputs.labels import BestLabel

        return BestLabel(self.labels, name="best_decade")

    def serve(self, values: "tf.Tensor") -> "dict[str, tf.Tensor]":
        best = self._best_label(values)
        return {"decade": best["label"], "decade_confidence": best["confidence"]}

    def serve_all(self, values: "tf.Tensor") -> "dict[str, tf.Tensor]":
        import tensorflow as tf

        names = tf.repeat(tf.constant([self.labels]), tf.shape(values)[0], axis=0)
        return {"decades": names, "decade_probabilities": values}

    def compare_served(self, served: Mapping[str, list[Any]], columns: NDArray[np.float32]) -> float:
        labels = [[label] for label in served["decade"]]
        confidences = [[confidence] for confidence in served["decade_confidence"]]
        return compare_labels(labels, confidences, columns, self.labels)

    @classmethod
    def from_column_names(cls, names: Sequence[str]) -> Self | None:
        return cls._from_labels([name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX)])

    @classmethod
    def from_served(cls, served: Mapping[str, NDArray[Any]]) -> tuple[Self, NDArray[np.float32]] | None:
        names = served.get("decades", np.empty(0, object))
        # Models of earlier versions have the names once, not for each poster.
        output = cls._from_labels([name.decode() for name in (names[0] if names.ndim == 2 else names)])
        return (output, served["decade_probabilities"]) if output else None

    @classmethod
    def _from_labels(cls, labels: Sequence[str]) -> Self | None:
        return cls([int(label.removesuffix("s")) for label in labels]) if labels else None

    def decode(self, columns: NDArray[np.float32]) -> list[dict[str, Any]]:
        return [{"decade": self.labels[column]} for column in columns.argmax(axis=1).tolist()]

    @classmethod
    def prediction_fields(cls) -> "list[pa.Field]":
        import pyarrow as pa

        return [pa.field("decade", pa.string())]  # the most probable, if the model has the output

    def evaluate(self, predictions: NDArray[np.float32], test: Films, train: Films) -> dict[str, Any]:
        """Returns scores beside those of always predicting the decade of most films of the training split.

        Returns:
            `num_films`, `accuracy`, `within_one` (share of those at most ten years off), the `majority` decade and
            `majority_accuracy`.
        """
        years = _read_years(test)
        (rows,) = np.nonzero(years > 0)
        if not rows.size:
            return {}
        targets = years[rows] // 10 * 10
        predicted = np.array(self.decades)[predictions[rows].argmax(axis=1)]
        train_years = _read_years(train)
        decades, counts = np.unique(train_years[train_years > 0] // 10 * 10, return_counts=True)
        majority = decades[counts.argmax()]
        return {
            "num_films": len(targets),
            "accuracy": float(np.mean(predicted == targets)),
            "within_one": float(np.mean(np.abs(predicted - targets) <= 10)),
            "majority": int(majority),
            "majority_accuracy": float(np.mean(targets == majority)),
        }

    @classmethod
    def describe(cls, scores: Mapping[str, Any]) -> str:
        return (
            f"- **Decade**: correct for {scores['accuracy']:.1%} of {scores['num_films']:,} films, at most one decade "
            f"off for {scores['within_one']:.1%}; always predicting the {scores['majority']}s is correct for "
            f"{scores['majority_accuracy']:.1%}."
        )


def _read_years(films: Films) -> NDArray[np.int32]:
    return films.films["year"].to_numpy(np.int32)


def _find_decades(years: NDArray[np.int32]) -> NDArray[np.int32]:
    """Returns the first years of the decades that occur, ascending."""
    return np.unique(years[years > 0] // 10 * 10)
