import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.features.nearest import find_nearest


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
