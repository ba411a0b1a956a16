import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.evaluation.neighbours import (
    embed_pieces,
    find_nearest,
    measure_chance,
    measure_precision,
)


@given(
    num_rows=st.integers(1, 40), num_queries=st.integers(1, 5), num_nearest=st.integers(1, 12), piece=st.integers(1, 15)
)
def test_nearest_are_those_of_the_whole_whatever_the_pieces(
    num_rows: int, num_queries: int, num_nearest: int, piece: int
) -> None:
    rng = np.random.default_rng(num_rows)
    # Few values, so that some rows are equally near.
    index = rng.integers(0, 3, (num_rows, 3)).astype(np.float32)
    queries = rng.integers(0, 3, (num_queries, 3)).astype(np.float32)
    pieces = [index[start : start + piece] for start in range(0, num_rows, piece)]
    rows, similarities = find_nearest(queries, pieces, num_nearest)
    products = queries @ index.T
    expected = np.argsort(-products, axis=1, kind="stable")[:, :num_nearest]
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(similarities, np.take_along_axis(products, expected, axis=1))


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


def test_pieces_are_all_the_posters_in_order(make_matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.evaluation.neighbours._ROWS_AT_ONCE", 4)
    features = np.arange(20).reshape(10, 2)
    pieces = list(embed_pieces(lambda rows: rows + 1, make_matrix(features)))
    assert [len(piece) for piece in pieces] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(pieces), features + 1)
