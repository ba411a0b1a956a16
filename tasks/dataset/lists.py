"""Columns of lists: each different list once, and for each film its number. A million films have some thousands."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

# Between genres, none of which has it: the catalog's own separator.
_SEPARATOR = "|"


def as_categories(genres: pa.ChunkedArray) -> pd.Categorical:
    """Returns lists of genres as a categorical column, whose categories are tuples of the names.

    Args:
        genres: Lists of strings without `|`, none of them null.
    """
    encoded = pc.binary_join(genres, _SEPARATOR).combine_chunks().dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    return make_categories(
        encoded.indices.to_numpy(), [tuple(text.split(_SEPARATOR)) if text else () for text in texts]
    )


def map_categories(column: pd.Series, function: Callable[[Any], Sequence[Any]]) -> pd.Categorical:
    """Returns a categorical column of the tuples that a function makes of those of another; it may make equal ones."""
    numbers: dict[tuple[Any, ...], int] = {}
    new = [numbers.setdefault(tuple(function(value)), len(numbers)) for value in column.cat.categories]
    return make_categories(np.array(new, np.int32)[column.cat.codes], list(numbers))


def make_categories(codes: Any, values: list[tuple[Any, ...]]) -> pd.Categorical:
    """Returns a categorical column of different tuples from the number of each film's tuple, shape `(num_films,)`."""
    return pd.Categorical.from_codes(codes, categories=pd.Index(values, dtype=object, tupleize_cols=False))


def as_arrow(column: pd.Series, arrow_type: pa.DataType) -> pa.Array:
    """Returns a column, categorical or not, as an array of a type."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return pa.array(column.cat.categories.tolist(), arrow_type).take(pa.array(column.cat.codes))
    return pa.array(column.tolist(), arrow_type)
