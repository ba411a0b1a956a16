import pandas as pd
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.dataset.lists import as_arrow, as_categories, map_categories

LISTS = st.lists(st.lists(st.sampled_from(["Drama", "Sci-Fi", "War", "é"]), max_size=3), max_size=20)


@settings(deadline=None)
@given(LISTS, st.integers(1, 7))
def test_lists_are_as_before(lists: list[list[str]], num_at_once: int) -> None:
    pieces = [lists[start : start + num_at_once] for start in range(0, len(lists), num_at_once)]
    column = pd.Series(as_categories(pa.chunked_array(pieces, pa.list_(pa.string()))))
    assert column.tolist() == [tuple(names) for names in lists]
    assert as_arrow(column, pa.list_(pa.string())).to_pylist() == lists


def test_mapped_lists_may_become_equal() -> None:
    column = pd.Series(as_categories(pa.chunked_array([[["Drama", "War"], ["War"], [], ["War", "Drama"], ["War"]]])))
    mapped = pd.Series(map_categories(column, lambda names: [int("Drama" in names)]))
    assert mapped.tolist() == [(1,), (0,), (0,), (1,), (0,)]
    assert as_arrow(mapped, pa.list_(pa.uint8())).to_pylist() == [[1], [0], [0], [1], [0]]


def test_other_columns() -> None:
    assert as_arrow(pd.Series([1, 2]), pa.int16()).equals(pa.array([1, 2], pa.int16()))
