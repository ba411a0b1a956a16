"""Genres: a probability for each; none, one or several may be true of a film."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from tasks.outputs.agreement import compare_decisions
from tasks.outputs.calibration import Calibration
from tasks.outputs.decisions import DecisionRule, limit, sort_decided
from tasks.outputs.output import Films, Output, OutputContext, find_output_class
from tasks.settings import OUTPUTS, LossName

if TYPE_CHECKING:
    import keras
    import pyarrow as pa
    import tensorflow as tf

    from tasks.outputs.labels import DecidedLabels

# The layer under the genres' sigmoid: calibration and thresholds are folded into its weights.
LOGITS = "logits"
CONFIDENCES = "confidences"

_OVER_ONE_HALF = DecisionRule()


@dataclass(frozen=True)
class GenresOutput(Output):
    """The genres. A head returns confidences; the network of the exported model returns their logits.

    Attributes:
        genres: Names, in the order of the columns.
        rule: Which genres are predicted, and in which order.
        calibration: What was folded into the logits; None before, and of a published model of an early version.
        operating_thresholds: Thresholds on the calibrated probabilities that replace the decision over 0.5, NaN for a
            genre that is never predicted; None: none do.
        loss_name: Name of the loss, as `training.loss`.
        soft_f1_share: As `training.soft_f1_share`.
    """

    name = "genres"
    curve = ("macro_f1", "genres: macro-F1 at a raw 0.5")

    genres: Sequence[str]
    rule: DecisionRule = _OVER_ONE_HALF
    calibration: Calibration | None = None
    operating_thresholds: NDArray[np.float32] | None = None
    loss_name: LossName = "soft_f1"
    soft_f1_share: float = 1.0

    @classmethod
    def from_context(cls, context: OutputContext) -> Self:
        return cls(
            context.genres,
            loss_name=context.training.loss,
            soft_f1_share=context.training.soft_f1_share,
            weight=context.get_weight(cls.name),
        )

    def get_config(self) -> dict[str, Any]:
        calibration = self.calibration.get_config() if self.calibration else None
        return {"genres": list(self.genres), "rule": self.rule.get_config(), "calibration": calibration}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        calibration = Calibration.from_config(config["calibration"]) if config["calibration"] else None
        # Heads of earlier versions have no rule.
        rule = DecisionRule.from_config(config["rule"]) if "rule" in config else _OVER_ONE_HALF
        return cls(config["genres"], rule, calibration)

    def with_calibration(self, calibration: Calibration) -> Self:
        """Returns the output whose logits had this folded into them."""
        return dataclasses.replace(self, calibration=calibration)

    def with_rule(self, rule: DecisionRule) -> Self:
        return dataclasses.replace(self, rule=rule)

    def with_operating_thresholds(self, thresholds: NDArray[np.float32]) -> Self:
        """Returns the output that predicts genres whose calibrated probability is at these thresholds or over."""
        return dataclasses.replace(self, operating_thresholds=thresholds)

    @property
    def num_columns(self) -> int:
        return len(self.genres)

    @property
    def target_spec(self) -> tuple[str, int]:
        return "uint8", len(self.genres)

    @cached_property
    def loss(self) -> "keras.losses.Loss":
        from tasks.outputs.losses import make_loss

        return make_loss(self.loss_name, self.soft_f1_share)

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
    def _decided_labels(self) -> "DecidedLabels":
        from tasks.outputs.labels import DecidedLabels

        return DecidedLabels(
            self.genres, self._known_calibration.thresholds.tolist(), **self.rule.get_config(), name="decided_labels"
        )

    @property
    def _known_calibration(self) -> Calibration:
        if self.calibration is None:
            raise ValueError("expected an output whose calibration is known. Received: calibration=None")
        return self.calibration

    def recalibrate(self, confidences: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the calibrated probabilities from the confidences."""
        return self._known_calibration.recalibrate(confidences)

    def serve(self, values: "tf.Tensor") -> "dict[str, tf.Tensor]":
        return dict(self._decided_labels(values))

    def serve_all(self, values: "tf.Tensor") -> "dict[str, tf.Tensor]":
        import tensorflow as tf

        calibration = self._known_calibration
        return {
            "genres": tf.repeat(tf.constant([self.genres]), tf.shape(values)[0], axis=0),
            "confidences": tf.sigmoid(values),
            "calibrated": tf.sigmoid(values + calibration.thresholds),
            "probabilities": tf.sigmoid(calibration.unfold(values)),
        }

    def compare_served(self, served: Mapping[str, list[Any]], columns: NDArray[np.float32]) -> float:
        return compare_decisions(served, columns, self._known_calibration.recalibrate(columns), self.genres, self.rule)

    @classmethod
    def from_column_names(cls, names: Sequence[str]) -> Self:
        """Returns the output whose genres are the columns that no other output has."""
        others = [find_output_class(name).from_column_names(names) for name in OUTPUTS if name != cls.name]
        taken = {name for output in others if output for name in output.column_names}
        return cls([name for name in names if name not in taken])

    @classmethod
    def from_served(cls, served: Mapping[str, NDArray[Any]]) -> tuple[Self, NDArray[np.float32]]:
        names = served["genres"]
        # Models of earlier versions have the names once, not for each poster.
        names = names[0] if names.ndim == 2 else names
        return cls([name.decode() for name in names]), served["confidences"]

    def decide(self, columns: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Returns which genres are predicted, from the confidences, shape `(num_films, num_genres)`."""
        calibrated = self._calibrate(columns)
        if self.operating_thresholds is None:
            return self.rule.decide(columns, calibrated)
        # Comparisons with NaN are false.
        return limit(calibrated >= self.operating_thresholds, self.rule.rank(columns, calibrated), self.rule.top_k)

    def _calibrate(self, columns: NDArray[np.float32]) -> NDArray[np.float32]:
        # Without calibration genres are ranked by confidences, and have no probabilities.
        return self.calibration.recalibrate(columns) if self.calibration else columns

    def decode(self, columns: NDArray[np.float32]) -> list[dict[str, Any]]:
        calibrated, decisions = self._calibrate(columns), self.decide(columns)
        order = sort_decided(decisions, self.rule.rank(columns, calibrated))
        rows = []
        for row, named in enumerate(decisions.sum(axis=1).tolist()):
            chosen = order[row, :named]
            probabilities = calibrated[row, chosen].tolist() if self.calibration else []
            rows.append(
                {
                    "labels": [self.genres[column] for column in chosen.tolist()],
                    "confidences": columns[row, chosen].tolist(),
                    "calibrated": probabilities,
                }
            )
        return rows

    @classmethod
    def prediction_fields(cls) -> "list[pa.Field]":
        import pyarrow as pa

        return [
            pa.field("labels", pa.list_(pa.string()), nullable=False),  # in the model's order
            pa.field("confidences", pa.list_(pa.float32()), nullable=False),  # of the labels
            pa.field("calibrated", pa.list_(pa.float32()), nullable=False),  # their probabilities
        ]
