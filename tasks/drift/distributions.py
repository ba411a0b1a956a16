"""Distributions of numbers, kept as counts in bins, and the distance between two of them."""

import math
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, FiniteFloat, PositiveInt, model_validator

# A bin of sizes is this part of an octave: 9% wide, so that a change of a tenth moves films to another bin.
_BINS_PER_OCTAVE = 8
_CONFIDENCE_BINS = 50


class Distribution(BaseModel):
    """A distribution of numbers.

    Attributes:
        bins: Numbers of the bins that are not empty, ascending.
        counts: Count of each of these bins, over 0.
        median: Median of the numbers themselves.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    bins: tuple[int, ...]
    counts: tuple[PositiveInt, ...]
    median: FiniteFloat

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if not self.bins or len(self.bins) != len(self.counts) or sorted(set(self.bins)) != list(self.bins):
            raise ValueError("expected some bins, ascending, and a count of each")
        return self

    @property
    def num_values(self) -> int:
        """Count of all numbers."""
        return sum(self.counts)

    @classmethod
    def of_sizes(cls, sizes: ArrayLike) -> Self:
        """Returns the distribution of sizes of at least 1, such as bytes or pixels, at least one of them."""
        values = np.asarray(sizes, float)
        return cls._count(np.floor(np.log2(values) * _BINS_PER_OCTAVE), values)

    @classmethod
    def of_confidences(cls, confidences: ArrayLike) -> Self:
        """Returns the distribution of numbers in [0, 1], at least one of them."""
        values = np.asarray(confidences, float)
        return cls._count(np.minimum(np.floor(values * _CONFIDENCE_BINS), _CONFIDENCE_BINS - 1), values)

    @classmethod
    def _count(cls, bins: NDArray[np.floating], values: NDArray[np.floating]) -> Self:
        numbers, counts = np.unique(bins.astype(int), return_counts=True)
        return cls(bins=tuple(numbers.tolist()), counts=tuple(counts.tolist()), median=float(np.median(values)))


def measure_distance(before: Distribution, after: Distribution) -> float:
    """Returns the largest difference of the cumulative distributions, in [0, 1] (Kolmogorov-Smirnov)."""
    bins = np.union1d(before.bins, after.bins)
    cumulative = []
    for distribution in (before, after):
        shares = np.zeros(len(bins))
        shares[np.searchsorted(bins, distribution.bins)] = distribution.counts
        cumulative.append(np.cumsum(shares) / distribution.num_values)
    return float(np.abs(cumulative[0] - cumulative[1]).max())


def find_distance_noise(num_before: int, num_after: int, deviations: float) -> float:
    """Returns the distance that two samples of one distribution exceed as rarely as a normal variable a deviation.

    By Kolmogorov's limit, 2 exp(-2 x²) for the distance times sqrt(n m / (n + m)); bins only make it rarer.

    Args:
        num_before: Size of one sample.
        num_after: Size of the other.
        deviations: Deviation from the mean, in either direction, in standard deviations.
    """
    probability = math.erfc(deviations / math.sqrt(2))
    return math.sqrt(-math.log(probability / 2) / 2 * (1 / num_before + 1 / num_after))
