import math

import pytest

from tasks.drift.distributions import Distribution
from tasks.drift.figures import Figure, Share, compare_distributions, compare_numbers, compare_rises, compare_shares


def shares(before: tuple[int, int], after: tuple[int, int], factor: float = 1.25, deviations: float = 4) -> Figure:
    return compare_shares(
        "genre", "War", Share(*before), Share(*after), factor=factor, deviations=deviations, setting="max_share_factor"
    )


def test_share_has_the_noise_of_two_samples_and_the_bound_of_its_direction() -> None:
    fallen = shares((200, 1000), (100, 1000))
    # Pooled 300 of 2,000: sqrt(0.15 * 0.85 * (1/1000 + 1/1000)) = 0.015969.
    assert fallen.noise == pytest.approx(4 * 0.015969, rel=1e-4)
    assert (fallen.change, fallen.bound) == (pytest.approx(0.1), pytest.approx(0.2 * (1 - 1 / 1.25)))
    assert fallen.exceeds
    assert fallen.nearness == pytest.approx(0.1 / (4 * 0.015969), rel=1e-4)
    assert fallen.describe() == (
        "genre War: 10.0%, before 20.0%; changed by 10.0 points, noise 6.4 points, bound 4.0 points "
        "(drift.max_share_factor)"
    )
    assert shares((200, 1000), (300, 1000)).bound == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("before", "after", "exceeds"),
    [
        ((200, 1000), (200, 1000), False),
        ((20, 100), (10, 100), False),  # within the noise
        ((20_000, 100_000), (17_000, 100_000), False),  # within the bound, a factor of 1.18
        ((20_000, 100_000), (15_000, 100_000), True),
        ((20_000, 100_000), (24_900, 100_000), False),
        ((20_000, 100_000), (25_100, 100_000), True),
        ((0, 1000), (100, 1000), True),  # a new one
        ((100, 1000), (0, 1000), True),  # one that is gone
        ((1000, 1000), (1000, 1000), False),
    ],
)
def test_a_share_exceeds_bound_and_noise(before: tuple[int, int], after: tuple[int, int], exceeds: bool) -> None:
    assert shares(before, after).exceeds == exceeds


def test_numbers_change_by_a_part_of_the_number_before() -> None:
    grown, shrunk = (compare_numbers("films", "all", 1000, after, 0.2, "max_films_change") for after in (1200, 799))
    assert (grown.change, grown.exceeds) == (0.2, False)
    assert (shrunk.change, shrunk.exceeds) == (0.201, True)
    assert shrunk.describe() == (
        "films all: 799, before 1,000; changed by 20.1%, noise 0.0%, bound 20.0% (drift.max_films_change)"
    )


@pytest.mark.parametrize(("before", "after", "exceeds"), [(20, 300, True), (300, 20, False), (20, 60, False)])
def test_only_a_rise_exceeds(before: int, after: int, exceeds: bool) -> None:
    figure = compare_rises(
        "failures", "h", Share(before, 1000), Share(after, 1000), bound=0.05, deviations=4, setting="max_failure_rise"
    )
    assert figure.exceeds == exceeds


def test_distributions_show_their_medians() -> None:
    before, after = Distribution.of_sizes([100] * 500), Distribution.of_sizes([100] * 300 + [3000] * 200)
    figure = compare_distributions(
        "poster", "bytes", before, after, unit="bytes", bound=0.1, deviations=4, setting="max_size_distance"
    )
    assert figure.change == pytest.approx(0.4)
    assert figure.exceeds
    assert figure.describe().startswith("poster bytes: 100, before 100 (medians); changed by 0.4, noise 0.144, bound")


def test_text_of_others_stays_in_its_line() -> None:
    figure = Figure("genre", "a\nb\r\n  c", None, None, "distance", 1, 0, 0, "x")
    assert figure.describe() == "genre a b c:; changed by 1, noise 0, bound 0 (drift.x)"


def test_a_share_of_more_than_one_has_no_noise() -> None:
    assert Share(3, 2).find_noise(Share(3, 2), 4) == 0
    assert not math.isnan(shares((3, 2), (3, 2)).nearness)
