import numpy as np
import pytest

from tasks.evaluation.neighbours import measure_chance, measure_precision


def test_precision_is_worked_by_hand() -> None:
    index = np.array([[1, 0], [1, 1], [0, 1], [0, 0]], np.uint8)
    queries = np.array([[1, 0], [0, 1]], np.uint8)
    # The first shares its genre with one of its two, the second with both of its.
    assert measure_precision(np.array([[0, 2], [1, 2]]), queries, index) == pytest.approx(3 / 4)
    # Of four films each shares its genre with two.
    assert measure_chance(queries, index) == pytest.approx(1 / 2)


def test_chance_is_the_precision_of_all() -> None:
    rng = np.random.default_rng(0)
    index, queries = rng.integers(0, 2, (60, 4)).astype(np.uint8), rng.integers(0, 2, (9, 4)).astype(np.uint8)
    everyone = np.tile(np.arange(60), (9, 1))
    assert measure_chance(queries, index) == pytest.approx(measure_precision(everyone, queries, index))
