"""Differences of macro-F1 between a candidate and other models on the same films, with their noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.evaluation.resampling import resample_f1, score_f1

# Share of the resamples in which an equal candidate seems worse than one of the other models by more than the noise. In
# draws of films it is up to twice as often, since resamples vary less (tests/benchmarks/gate.py): 5% at most are meant.
_ERROR_RATE = 0.025


@dataclass(frozen=True)
class Paired:
    """Predictions of two models for the same films; every array has the shape `(num_films, num_genres)`.

    Attributes:
        positives: Targets; bool.
        candidate: Predictions of the candidate; bool.
        other: Predictions of the other model; bool.
    """

    positives: NDArray[np.bool_]
    candidate: NDArray[np.bool_]
    other: NDArray[np.bool_]

    def keep(self, films: NDArray[np.bool_]) -> "Paired":
        """Returns the same number of films, of which only these count: others have no genre and no prediction."""
        mask = films[:, np.newaxis]
        return Paired(self.positives & mask, self.candidate & mask, self.other & mask)


@dataclass(frozen=True)
class Difference:
    """Macro-F1 of the candidate less that of another model.

    Attributes:
        candidate_macro_f1: Macro-F1 of the candidate.
        other_macro_f1: Macro-F1 of the other model.
        standard_error: Standard deviation of the difference over resamples of the films.
        noise: Fall that a candidate of equal quality exceeds, against any of the compared models, in 5% of the draws at
            most.
    """

    candidate_macro_f1: float
    other_macro_f1: float
    standard_error: float
    noise: float

    @property
    def value(self) -> float:
        return self.candidate_macro_f1 - self.other_macro_f1


def find_differences(pairs: Sequence[Paired]) -> list[Difference]:
    """Returns the difference to each other model, and its noise by a paired bootstrap.

    All pairs are of the same films in the same order (`Paired.keep` leaves some out), and share the resamples, so that
    the noise is that of the worst of several comparisons: the quantile of the largest standardised deviation (Westfall
    and Young 1993, "Resampling-Based Multiple Testing", single-step maxT). Five comparisons refuse equal candidates no
    more often than one.

    Args:
        pairs: The candidate and each other model.
    """
    if not pairs:
        return []
    scored = [(pair.positives, decisions) for pair in pairs for decisions in (pair.candidate, pair.other)]
    macro_f1 = [float(score_f1(model).mean()) for model in scored]
    resampled = [scores.mean(axis=1) for scores in resample_f1(scored)]
    falls = np.stack([other - candidate for candidate, other in zip(resampled[::2], resampled[1::2], strict=True)])
    errors = falls.std(axis=1)
    deviations = falls - falls.mean(axis=1, keepdims=True)
    standardised = deviations / np.where(errors > 0, errors, 1)[:, np.newaxis]
    quantile = float(np.quantile(standardised.max(axis=0), 1 - _ERROR_RATE))
    return [
        Difference(candidate, other, float(error), quantile * float(error))
        for candidate, other, error in zip(macro_f1[::2], macro_f1[1::2], errors, strict=True)
    ]
