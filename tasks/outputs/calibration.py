"""Calibration of the genres' logits, and the thresholds on them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

# A genre is predicted where its confidence is strictly greater.
THRESHOLD = 0.5


@dataclass(frozen=True)
class Calibration:
    """What turns a head's raw logits into probabilities and decisions; every array has the shape `(num_genres,)`.

    Calibrated logits are `slope * logit + intercept` (Platt 1999, "Probabilistic Outputs for Support Vector Machines").
    Less the threshold, they are the logits of the confidences, which are over 0.5 where a genre is predicted.

    Attributes:
        slopes: Factors, over 0.
        intercepts: Summands.
        thresholds: Thresholds on the calibrated logits.
    """

    slopes: NDArray[np.float32]
    intercepts: NDArray[np.float32]
    thresholds: NDArray[np.float32]

    def calibrate(self, raw_logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the calibrated logits."""
        calibrated: NDArray[np.float32] = self.slopes * raw_logits + self.intercepts
        return calibrated

    def fold(self, raw_logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the logits of the confidences."""
        return self.calibrate(raw_logits) - self.thresholds

    def unfold(self, folded: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the raw logits from those of the confidences."""
        return (folded + self.thresholds - self.intercepts) / self.slopes

    def recalibrate(self, confidences: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the calibrated probabilities from the confidences, shape `(num_films, num_genres)` both.

        The odds of the one are those of the other times a constant for each genre. For confidences that float32 rounds
        to 0 or 1 it is 0 or 1.
        """
        values, factors = confidences.astype(np.float64), np.exp(self.thresholds.astype(np.float64))
        calibrated: NDArray[np.float32] = (values * factors / (values * factors + 1 - values)).astype(np.float32)
        return calibrated

    def get_config(self) -> dict[str, list[float]]:
        """Returns the arrays as lists, for JSON."""
        return {name: values.tolist() for name, values in vars(self).items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Returns the calibration that `get_config` described."""
        return cls(**{name: np.array(values, np.float32) for name, values in config.items()})
