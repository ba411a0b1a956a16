import math

import numpy as np
import pytest
from pydantic import ValidationError

from tasks.drift.distributions import Distribution, find_distance_noise, measure_distance


def test_sizes_are_counted_in_eighths_of_an_octave() -> None:
    # 256 = 2^8 is the start of bin 64; 2^8.125 = 279.2 that of bin 65.
    found = Distribution.of_sizes([256, 279, 280, 512])
    assert (found.bins, found.counts, found.median) == ((64, 65, 72), (2, 1, 1), 279.5)
    assert found.num_values == 4


def test_confidences_are_counted_in_fiftieths() -> None:
    found = Distribution.of_confidences([0.0, 0.019, 0.5, 1.0])
    assert (found.bins, found.counts) == ((0, 25, 49), (2, 1, 1))


@pytest.mark.parametrize(
    ("before", "after", "distance"),
    [
        ([100, 200], [100, 200], 0.0),
        ([100, 200], [100, 100, 200, 200], 0.0),
        ([100, 100], [200, 200], 1.0),
        # Up to 100: 3/4 and 1/4; up to 200: 4/4 and 3/4.
        ([100, 100, 100, 200], [100, 200, 200, 400], 0.5),
        # The other way: the sign does not matter.
        ([100, 200, 200, 400], [100, 100, 100, 200], 0.5),
    ],
)
def test_distance_is_the_largest_difference_of_cumulative_shares(
    before: list[int], after: list[int], distance: float
) -> None:
    assert measure_distance(Distribution.of_sizes(before), Distribution.of_sizes(after)) == pytest.approx(distance)


def test_noise_is_exceeded_as_rarely_as_the_deviations() -> None:
    # Two-sided 5% at 1.96 deviations; the table of Kolmogorov and Smirnov has 1.358 sqrt(1/n + 1/m) for it.
    assert find_distance_noise(100, 50, 1.96) == pytest.approx(1.358 * math.sqrt(1 / 100 + 1 / 50), rel=1e-3)
    random = np.random.default_rng(0)
    exceeded = 0
    for _ in range(1000):
        first, second = (Distribution.of_sizes(random.lognormal(9, 0.3, number)) for number in (200, 300))
        exceeded += measure_distance(first, second) > find_distance_noise(200, 300, 1.96)
    assert 10 <= exceeded <= 60


@pytest.mark.parametrize(
    "changes", [{"bins": (1,)}, {"bins": (), "counts": ()}, {"bins": (2, 1)}, {"counts": (1, 0)}, {"median": math.nan}]
)
def test_what_is_no_distribution_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Distribution.model_validate({"bins": (1, 2), "counts": (1, 1), "median": 1.0, **changes})
