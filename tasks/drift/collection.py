"""Collect the statistics of the present films, posters and predictions."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from tasks.drift.counts import count_decades, count_genres, count_hosts, describe_sizes, join_results
from tasks.drift.embeddings import Embeddings, choose_sample, project
from tasks.drift.statistics import Predictions, Statistics, encode_ids

# From rows of `Collected.films` to features, shape `(num_films, num_features)`.
ReadFeatures = Callable[[pd.DataFrame], NDArray[np.floating]]


@dataclass(frozen=True)
class Names:
    """What statistics are of: the fingerprint of the data set, and the name of the features' folder."""

    dataset: str
    features: str


@dataclass(frozen=True)
class Collected:
    """The statistics of the present, and what else the comparison needs.

    Attributes:
        statistics: The statistics.
        results: The result of each film's download, as `tasks.drift.counts.join_results` returns it.
        films: The films of the data set.
    """

    statistics: Statistics
    results: pd.DataFrame
    films: pd.DataFrame


def collect(
    *,
    catalog: pa.Table,
    ledger_rows: pa.Table,
    films: pd.DataFrame,
    read_features: ReadFeatures,
    predictions: Predictions,
    names: Names,
) -> Collected:
    """Collects the statistics of a model's data.

    Args:
        catalog: Columns `imdb_id`, `genres` and `poster_url` of all films.
        ledger_rows: The row of each film that has one, columns of the ledger without `content`.
        films: Films of the data set: `imdb_id`, `year` (0 where unknown), and what `read_features` needs.
        read_features: Function that reads the features of some of the films, in their order.
        predictions: The model's predictions for its test films.
        names: What the statistics are of.
    """
    results = join_results(catalog, ledger_rows)
    is_left_out = ~results["imdb_id"].isin(films["imdb_id"])
    sample = films.iloc[choose_sample(films["imdb_id"].tolist())]
    statistics = Statistics(
        dataset=names.dataset,
        num_catalog_films=catalog.num_rows,
        num_films=len(films),
        genres=count_genres(catalog, films["imdb_id"]),
        has_all_genres=True,
        decades=count_decades(films["year"]),
        hosts=count_hosts(results),
        sizes=describe_sizes(ledger_rows, films["imdb_id"]),
        predictions=predictions,
        embeddings=Embeddings.encode(names.features, project(read_features(sample))),
        left_out=encode_ids(results.loc[is_left_out, "imdb_id"].to_numpy(np.int64)),
    )
    return Collected(statistics, results, films)
