"""What the outputs of the model have in common."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from tasks.outputs.decisions import DecisionRule
from tasks.settings import OUTPUTS, HeadSettings, TrainingSettings

if TYPE_CHECKING:
    import keras
    import pandas as pd
    import pyarrow as pa
    import tensorflow as tf

# Reduction of a loss: over the films that have a target, not over all of the batch.
MEAN_OVER_PRESENT = "mean_with_sample_weight"

# Posters are weak predictors of decade and score: random weights take longer to unlearn than the rest to learn. (With
# two seeds the score's error on validation was 0.90 points from random weights, 0.77 from zeros, 0.82 the median's.)
UNINFORMED_INITIALIZER = "zeros"


class Films(Protocol):
    """The films of a split, as `tasks.training.examples.Examples` holds them."""

    @property
    def films(self) -> "pd.DataFrame":
        """A row a film, with at least `year` and `score`, 0 where unknown."""

    @property
    def genre_targets(self) -> NDArray[np.uint8]:
        """0 or 1, shape `(num_films, num_genres)`."""


@dataclass(frozen=True)
class OutputContext:
    """What an output is made from when a head is trained.

    Attributes:
        genres: Names of the genres, in the order of the targets.
        train: Films of the training split.
        training: Settings of the recipe.
        heads: Settings of the outputs.
    """

    genres: Sequence[str]
    train: Films
    training: TrainingSettings
    heads: HeadSettings

    def get_weight(self, name: str) -> float:
        """Returns the weight of an output's loss."""
        return float(getattr(self.heads, name))


@dataclass(frozen=True)
class Output(ABC):
    """One output of the model. Targets and predictions are matrices, a row a film.

    A film without a target adds nothing to loss and metrics.

    Attributes:
        name: Its name: that of its setting, its file, and its key in what a head returns.
        curve: Metric and title of its learning curve in the report.
        weight: Weight of its loss in the sum.
    """

    name: ClassVar[str]
    curve: ClassVar[tuple[str, str]]
    weight: float = field(default=1.0, kw_only=True)

    # In training.

    @classmethod
    @abstractmethod
    def from_context(cls, context: OutputContext) -> Self:
        """Returns the output that learns from the films of `context`.

        Raises:
            DatasetError: No film has a target.
        """

    @abstractmethod
    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, as JSON values, with which `from_config` makes the output again."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Returns the output that `get_config` described."""
        return cls(**config)

    @property
    @abstractmethod
    def num_columns(self) -> int:
        """The width of its predictions."""

    @property
    @abstractmethod
    def target_spec(self) -> tuple[str, int]:
        """The dtype and the width of its targets."""

    @property
    @abstractmethod
    def loss(self) -> "keras.losses.Loss":
        """Its loss."""

    @property
    @abstractmethod
    def metrics(self) -> "list[keras.metrics.Metric]":
        """Its metrics over an epoch."""

    @abstractmethod
    def build(self, hidden: "keras.KerasTensor") -> "keras.KerasTensor":
        """Returns the predictions, shape `(batch_size, num_columns)`, on top of the hidden layer."""

    @abstractmethod
    def read_targets(self, films: Films) -> NDArray[Any]:
        """Returns the targets of films, of the dtype and width `target_spec`."""

    def select_present(self, targets: "tf.Tensor") -> "tuple[tf.Tensor, tf.Tensor | None]":
        """Returns targets as loss and metrics take them, and 1.0 or 0.0 for whether a film has one; None if all do."""
        import tensorflow as tf

        return tf.cast(targets, tf.float32), None

    def measure_loss(self, targets: "tf.Tensor", predictions: "tf.Tensor") -> "tf.Tensor":
        """Returns the loss of a batch, a scalar."""
        targets, present = self.select_present(targets)
        return self.loss(targets, predictions, sample_weight=present)

    def update_metrics(self, targets: "tf.Tensor", predictions: "tf.Tensor") -> None:
        """Adds films to the metrics."""
        targets, present = self.select_present(targets)
        for metric in self.metrics:
            metric.update_state(targets, predictions, sample_weight=present)

    # In the exported model. An output without columns is in none of its signatures.

    @property
    def column_names(self) -> list[str]:
        """The names of its columns in the model without strings."""
        return []

    def with_rule(self, rule: DecisionRule) -> Self:
        """Returns the output that decides by this rule; most outputs decide nothing."""
        return self

    def to_columns(self, values: "keras.KerasTensor") -> "keras.KerasTensor":
        """Returns its columns, shape `(batch_size, len(column_names))`, from what the network returns."""
        return values

    def serve(self, values: "tf.Tensor") -> "dict[str, tf.Tensor]":
        """Returns its tensors of `serving_default`, from what the network returns."""
        return {}

    def serve_all(self, values: "tf.Tensor") -> "dict[str, tf.Tensor]":
        """Returns its tensors of the signature `probabilities`, from what the network returns."""
        return {}

    def compare_served(self, served: Mapping[str, list[Any]], columns: NDArray[np.float32]) -> float:
        """Returns the largest difference between served values, as lists, and the columns of the same posters."""
        return 0.0

    # In prediction.

    @classmethod
    def from_column_names(cls, names: Sequence[str]) -> Self | None:
        """Returns the output that has columns among `names`, those of a model; None if it has none."""
        return None

    @classmethod
    def from_served(cls, served: "Mapping[str, NDArray[Any]]") -> tuple[Self, NDArray[np.float32]] | None:
        """Returns output and columns from the arrays of the signature `probabilities`; None if it is not in them."""
        return None

    def decode(self, columns: NDArray[np.float32]) -> list[dict[str, Any]]:
        """Returns the fields of a prediction by name, for each row."""
        return [{} for _ in columns]

    @classmethod
    def prediction_fields(cls) -> "list[pa.Field]":
        """Returns the fields of `decode` as columns of `labels.parquet`."""
        return []

    # In evaluation.

    def evaluate(self, predictions: NDArray[np.float32], test: Films, train: Films) -> dict[str, Any]:
        """Returns scores on the test films that have a target, beside a constant prediction; empty if none has."""
        return {}

    @classmethod
    def describe(cls, scores: Mapping[str, Any]) -> str:
        """Returns the scores of `evaluate` as a line of the report; "" if it has none."""
        return ""


def find_output_class(name: str) -> type[Output]:
    """Returns the class of an output, which is in the module of its name."""
    importlib.import_module(f"tasks.outputs.{name}")
    return next(output for output in Output.__subclasses__() if output.name == name)


def find_output_classes() -> list[type[Output]]:
    """Returns the classes of all outputs, genres first."""
    return [find_output_class(name) for name in OUTPUTS]


def make_outputs(context: OutputContext) -> list[Output]:
    """Returns the outputs that are enabled in the settings, genres first.

    Raises:
        DatasetError: No film of the training split has a target of one of them.
    """
    return [find_output_class(name).from_context(context) for name in context.heads.names]


def split_columns(outputs: Sequence[Output], columns: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Returns the columns of each output, of a matrix that has those of all side by side."""
    widths = [len(output.column_names) for output in outputs]
    return np.split(columns, np.cumsum(widths)[:-1], axis=1)
