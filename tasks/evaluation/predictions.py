"""Predictions of a trained head for the films of a split."""

from dataclasses import dataclass
from typing import Self

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tasks.outputs.calibration import Calibration
from tasks.outputs.decisions import DecisionRule
from tasks.outputs.genres import GenresOutput
from tasks.training.examples import Examples
from tasks.training.head import build_logits_model, predict
from tasks.training.task import TrainedHead


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
