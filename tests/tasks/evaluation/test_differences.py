import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.evaluation.differences import Paired, find_differences

NUM_FILMS = 400


def make_decisions(positives: NDArray[np.bool_], error_rate: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Targets of which a share is wrong."""
    return positives ^ (rng.random(positives.shape) < error_rate)


def test_worked_by_hand() -> None:
    positives = np.array([[1], [1], [0], [0]], bool)
    candidate = np.array([[1], [1], [1], [0]], bool)  # F1 4/5
    other = np.array([[1], [0], [0], [0]], bool)  # F1 2/3
    (difference,) = find_differences([Paired(positives, candidate, other)])
    assert difference.candidate_macro_f1 == pytest.approx(4 / 5)
    assert difference.other_macro_f1 == pytest.approx(2 / 3)
    assert difference.value == pytest.approx(4 / 5 - 2 / 3)


def test_films_that_do_not_count() -> None:
    positives = np.array([[1], [1], [0], [1]], bool)
    candidate = np.array([[1], [0], [1], [1]], bool)
    kept = Paired(positives, candidate, ~candidate).keep(np.array([True, False, False, True]))
    (difference,) = find_differences([kept])
    assert (difference.candidate_macro_f1, difference.other_macro_f1) == (1, 0)


def test_equal_decisions_have_no_noise() -> None:
    positives = np.eye(4, dtype=bool)
    (difference,) = find_differences([Paired(positives, positives, positives)])
    assert (difference.value, difference.standard_error, difference.noise) == (0, 0, 0)


def test_nothing_to_compare() -> None:
    assert find_differences([]) == []


def test_standard_error_is_the_spread_of_the_difference() -> None:
    """Compared with the spread over new films of the same kind."""
    rng = np.random.default_rng(0)
    values, errors = [], []
    for _ in range(60):
        positives = rng.random((NUM_FILMS, 3)) < 0.3
        candidate, other = (make_decisions(positives, 0.2, rng) for _ in range(2))
        (difference,) = find_differences([Paired(positives, candidate, other)])
        values.append(difference.value)
        errors.append(difference.standard_error)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.3)


def test_models_of_other_levels_change_the_noise_little() -> None:
    """The noise is of deviations, each from its own mean."""
    rng = np.random.default_rng(3)
    positives = rng.random((NUM_FILMS, 3)) < 0.3
    candidate, near, far = (make_decisions(positives, rate, rng) for rate in (0.1, 0.1, 0.4))
    (alone,) = find_differences([Paired(positives, candidate, near)])
    beside, worst = find_differences([Paired(positives, candidate, near), Paired(positives, candidate, far)])
    assert worst.value > 0.2
    assert beside.standard_error == pytest.approx(alone.standard_error)
    # Of two comparisons, the 97.5% quantile of the larger deviation: about 2.24 for 1.96 standard errors.
    assert alone.noise < beside.noise < 1.4 * alone.noise


@pytest.mark.parametrize("num_others", [1, 5])
def test_equal_candidates_are_within_the_noise(num_others: int) -> None:
    """However many are compared with: the noise is that of the worst comparison."""
    rng = np.random.default_rng(num_others)
    num_draws, num_worse = 120, 0
    for _ in range(num_draws):
        positives = rng.random((NUM_FILMS, 3)) < 0.3
        candidate = make_decisions(positives, 0.2, rng)
        pairs = [Paired(positives, candidate, make_decisions(positives, 0.2, rng)) for _ in range(num_others)]
        num_worse += any(difference.value < -difference.noise for difference in find_differences(pairs))
    # At most 6 are meant; 13 or more would have a probability under 1%.
    assert num_worse < 13


def test_noise_of_several_is_more_than_that_of_one() -> None:
    rng = np.random.default_rng(0)
    positives = rng.random((NUM_FILMS, 3)) < 0.3
    candidate, *others = (make_decisions(positives, 0.2, rng) for _ in range(6))
    pairs = [Paired(positives, candidate, other) for other in others]
    (one,) = find_differences(pairs[:1])
    several = find_differences(pairs)
    assert several[0].standard_error == pytest.approx(one.standard_error)
    assert several[0].noise > 1.2 * one.noise
    assert one.noise == pytest.approx(1.96 * one.standard_error, rel=0.1)
