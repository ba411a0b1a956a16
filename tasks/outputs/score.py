"""IMDB's score of a film, in points from 1 to 10."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DatasetError
from tasks.outputs.output import MEAN_OVER_PRESENT, UNINFORMED_INITIALIZER, Films, Output, OutputContext

if TYPE_CHECKING:
    import keras
    import pyarrow as pa
    import tensorflow as tf

# In points; where all scores are equal, there would be no scale.
_MIN_DEVIATION = 0.1


@dataclass(frozen=True)
class ScoreOutput(Output):
    """The score; learned by the mean of squared differences. Films without a score have no target.

    Attributes:
        mean: Mean score of the training split, in points: the prediction of an untrained head.
        deviation: Standard deviation of these scores.
    """

    name = "score"
    curve = ("score_mean_absolute_error", "score: mean absolute error, points")

    mean: float
    deviation: float

    @classmethod
    def from_context(cls, context: OutputContext) -> Self:
        scores = _read_scores(context.train)
        scores = scores[scores > 0]
        if not scores.size:
            raise DatasetError(
                "no film of the training split has a score, which the output `score` learns: expected a number in the "
                "column IMDB Score"
            )
        return cls(float(scores.mean()), max(float(scores.std()), _MIN_DEVIATION), weight=context.get_weight(cls.name))

    def get_config(self) -> dict[str, Any]:
        return {"mean": self.mean, "deviation": self.deviation}

    @property
    def num_columns(self) -> int:
        return 1

    @property
    def target_spec(self) -> tuple[str, int]:
        return "float32", 1

    @cached_property
    def loss(self) -> "keras.losses.Loss":
        import keras

        return keras.losses.MeanSquaredError(reduction=MEAN_OVER_PRESENT)

    @cached_property
    def metrics(self) -> "list[keras.metrics.Metric]":
        import keras

        return [keras.metrics.MeanAbsoluteError(name="score_mean_absolute_error")]

    def build(self, hidden: "keras.KerasTensor") -> "keras.KerasTensor":
        import keras

        deviations = keras.layers.Dense(1, kernel_initializer=UNINFORMED_INITIALIZER, name="score_deviations")(hidden)
        return keras.layers.Rescaling(self.deviation, self.mean, name=self.name)(deviations)

    def read_targets(self, films: Films) -> NDArray[np.float32]:
        return _read_scores(films)[:, np.newaxis]

    def select_present(self, targets: "tf.Tensor") -> "tuple[tf.Tensor, tf.Tensor]":
        import tensorflow as tf

        return targets, tf.cast(targets[:, 0] > 0, tf.float32)

    @property
    def column_names(self) -> list[str]:
        return [self.name]

    def serve(self, values: "tf.Tensor") -> "dict[str, tf.Tensor]":
        return {"score": values[:, 0]}

    def serve_all(self, values: "tf.Tensor") -> "dict[str, tf.Tensor]":
        return self.serve(values)

    def compare_served(self, served: Mapping[str, list[Any]], columns: NDArray[np.float32]) -> float:
        return float(np.abs(np.array(served["score"]) - columns[:, 0]).max())

    @classmethod
    def from_column_names(cls, names: Sequence[str]) -> Self | None:
        # Mean and deviation are in the model's weights; predictions do without.
        return cls(0.0, 1.0) if cls.name in names else None

    @classmethod
    def from_served(cls, served: Mapping[str, NDArray[Any]]) -> tuple[Self, NDArray[np.float32]] | None:
        return (cls(0.0, 1.0), served["score"][:, np.newaxis]) if "score" in served else None

    def decode(self, columns: NDArray[np.float32]) -> list[dict[str, Any]]:
        return [{"score": score} for score in columns[:, 0].tolist()]

    @classmethod
    def prediction_fields(cls) -> "list[pa.Field]":
        import pyarrow as pa

        return [pa.field("score", pa.float32())]  # in points, if the model has the output

    def evaluate(self, predictions: NDArray[np.float32], test: Films, train: Films) -> dict[str, Any]:
        """Returns scores beside those of always predicting the median of the training split, which is hard to beat.

        Returns:
            `num_films`, `mean_absolute_error` in points, `median_mean_absolute_error`, and Spearman's
            `rank_correlation`, which is 0 where all targets or all predictions are equal.
        """
        from scipy.stats import spearmanr

        targets = _read_scores(test)
        (rows,) = np.nonzero(targets > 0)
        if not rows.size:
            return {}
        targets, predicted, train_scores = targets[rows], predictions[rows, 0], _read_scores(train)
        median = np.median(train_scores[train_scores > 0])
        correlation = spearmanr(targets, predicted).statistic if np.ptp(targets) and np.ptp(predicted) else 0.0
        return {
            "num_films": len(targets),
            "mean_absolute_error": float(np.abs(predicted - targets).mean()),
            "median_mean_absolute_error": float(np.abs(median - targets).mean()),
            "rank_correlation": float(correlation),
        }

    @classmethod
    def describe(cls, scores: Mapping[str, Any]) -> str:
        return (
            f"- **IMDB's score**: mean absolute error {scores['mean_absolute_error']:.2f} points over "
            f"{scores['num_films']:,} films that have one; always predicting the median: "
            f"{scores['median_mean_absolute_error']:.2f}. Rank correlation: {scores['rank_correlation']:.2f}."
        )


def _read_scores(films: Films) -> NDArray[np.float32]:
    return films.films["score"].to_numpy(np.float32)
