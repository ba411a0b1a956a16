"""Predictions of a trained head for the films of a split."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.special import expit

from tasks.outputs.calibration import Calibration
from tasks.outputs.decisions import DecisionRule
from tasks.outputs.genres import GenresOutput
from tasks.training.examples import Examples
from tasks.training.head import build_logits_model, predict
from tasks.training.task import TrainedHead

# A row for each test film.
PREDICTIONS = pa.schema(
    [
        pa.field("imdb_id", pa.int64(), nullable=False),
        # For each genre of the data set: 0 or 1, 0 or 1, and the calibrated probability.
        pa.field("targets", pa.list_(pa.uint8()), nullable=False),
        pa.field("predicted", pa.list_(pa.uint8()), nullable=False),
        pa.field("probabilities", pa.list_(pa.float32()), nullable=False),
    ]
)


def predict_logits(trained: TrainedHead, examples: Examples) -> dict[str, NDArray[np.float32]]:
    """Returns a head's predictions by output, a row a film; of the genres the logits of the confidences.

    They are averaged over the head's number of views.
    """
    features = examples.features.take_views(trained.num_views)
    return predict(build_logits_model(keras.saving.load_model(trained.head_path)), features)


@dataclass(frozen=True)
class GenreScores:
    """Scores of the genres of films, shape `(num_films, num_genres)` each.

    Attributes:
        confidences: Scores that are over 0.5 where a genre is predicted.
        calibrated: Calibrated probabilities.
        raw: Probabilities before calibration.
    """

    confidences: NDArray[np.float32]
    calibrated: NDArray[np.float32]
    raw: NDArray[np.float32]

    def decide(self, rule: DecisionRule) -> NDArray[np.bool_]:
        """Returns which genres are predicted by a rule."""
        return rule.decide(self.confidences, self.calibrated)

    @classmethod
    def from_logits(cls, logits: NDArray[np.float32], calibration: Calibration) -> Self:
        """Returns the scores for logits of the confidences."""
        return cls(
            confidences=expit(logits),
            calibrated=expit(logits + calibration.thresholds),
            raw=expit(calibration.unfold(logits)),
        )


def predict_genres(trained: TrainedHead, examples: Examples) -> GenreScores:
    """Returns a head's scores of the genres of films."""
    return GenreScores.from_logits(predict_logits(trained, examples)[GenresOutput.name], trained.calibration)


def write_predictions(
    path: Path,
    imdb_ids: Sequence[int],
    genre_targets: NDArray[np.uint8],
    decisions: NDArray[np.bool_],
    probabilities: NDArray[np.float32],
) -> None:
    """Writes a table of schema `PREDICTIONS`.

    Args:
        path: Path of the file.
        imdb_ids: Ids of the films.
        genre_targets: Targets, 0 or 1, shape `(num_films, num_genres)`.
        decisions: Whether a genre is predicted, same shape.
        probabilities: Calibrated probabilities, same shape.
    """
    columns = [imdb_ids, genre_targets.tolist(), decisions.astype(np.uint8).tolist(), probabilities.tolist()]
    pq.write_table(pa.table(columns, schema=PREDICTIONS), path)
