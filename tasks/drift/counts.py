"""Counts of films by genre, decade, host and result, and the sizes of their posters."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from tasks.drift.distributions import Distribution
from tasks.posters import segments

OK = segments.OK
NOT_REQUESTED = "not requested"
OTHERS = "others"
UNKNOWN = "unknown"

# Kept in `statistics.json`, at most, whatever a catalog has: IMDB has 28 genres, a ledger some 20 reasons.
_MAX_GENRES = 200
_MAX_HOSTS = 50
_MAX_REASONS = 30
_MAX_NAME_LENGTH = 100

# The host of an address, without user name and port.
_HOST = r"^[A-Za-z]+://(?:[^/?#@]*@)?(?P<host>\[[^\]]*\]|[^/?#:@]+)"


def count_genres(catalog: pa.Table, imdb_ids: ArrayLike) -> dict[str, int]:
    """Returns the number of films of each genre, most frequent first.

    Args:
        catalog: Columns `imdb_id` and `genres`.
        imdb_ids: Ids of the films that count.
    """
    films = catalog.filter(pc.is_in(catalog["imdb_id"], pa.array(np.asarray(imdb_ids, np.int64))))
    counts = _count(pc.list_flatten(films["genres"]).to_pandas().astype(str).str[:_MAX_NAME_LENGTH])
    return dict(list(counts.items())[:_MAX_GENRES])


def count_targets(targets: NDArray[np.uint8], genres: list[str]) -> dict[str, int]:
    """Returns the same from genre targets, shape `(num_films, num_genres)`: of the model's genres only."""
    return dict(zip(genres, targets.sum(axis=0, dtype=int).tolist(), strict=True))


def count_decades(years: ArrayLike) -> dict[str, int]:
    """Returns the number of films of each decade, in their order, `unknown` for the year 0."""
    decades, counts = np.unique(np.asarray(years, int) // 10 * 10, return_counts=True)
    names = [f"{decade}s" if decade else UNKNOWN for decade in decades.tolist()]
    return dict(zip(names, counts.tolist(), strict=True))


def join_results(catalog: pa.Table, ledger: pa.Table) -> pd.DataFrame:
    """Returns the result of each film's download.

    Args:
        catalog: Columns `imdb_id` and `poster_url`.
        ledger: The row of each film that has one: columns `imdb_id`, `status` and `reason`.

    Returns:
        `imdb_id`, `host`, and `result`: `ok`, or the reason why there is no poster.
    """
    hosts = pc.struct_field(pc.extract_regex(catalog["poster_url"], _HOST), "host")
    films = pd.DataFrame({"imdb_id": catalog["imdb_id"].to_numpy(), "host": pc.utf8_lower(hosts).to_pandas()})
    films["host"] = films["host"].fillna(UNKNOWN)
    rows = ledger.select(["imdb_id", "status", "reason"]).to_pandas()
    films = films.merge(rows, on="imdb_id", how="left")
    films["result"] = films["reason"].where(films["status"] != OK, OK).fillna(NOT_REQUESTED)
    return films[["imdb_id", "host", "result"]]


def count_hosts(results: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Returns the number of films by host and result, the host with most films first.

    Args:
        results: Columns `host` and `result`.
    """
    hosts = _keep_frequent(results["host"], _MAX_HOSTS)
    groups = results["result"].groupby(hosts)
    counted = {str(host): _count(_keep_frequent(group, _MAX_REASONS)) for host, group in groups}
    return dict(sorted(counted.items(), key=lambda item: (-sum(item[1].values()), item[0])))


def describe_sizes(ledger: pa.Table, imdb_ids: ArrayLike) -> dict[str, Distribution]:
    """Returns the distributions of the posters' `bytes`, `width` and `height`; without those that are not known.

    Args:
        ledger: Columns `imdb_id`, `num_bytes`, `width` and `height`; null where unknown.
        imdb_ids: Ids of the films that count.
    """
    posters = ledger.filter(pc.is_in(ledger["imdb_id"], pa.array(np.asarray(imdb_ids, np.int64))))
    columns = {"bytes": "num_bytes", "width": "width", "height": "height"}
    sizes = {name: posters[column].drop_null().to_numpy() for name, column in columns.items()}
    return {name: Distribution.of_sizes(values[values > 0]) for name, values in sizes.items() if (values > 0).any()}


def sum_failures(results: Mapping[str, int]) -> int:
    """Returns the number of films without a poster, of the counts of one host."""
    return sum(results.values()) - results.get(OK, 0)


def _keep_frequent(names: "pd.Series[str]", maximum: int) -> "pd.Series[str]":
    """Returns names cut to a length, all but the most frequent ones replaced by `OTHERS`."""
    short = names.str[:_MAX_NAME_LENGTH]
    return short.where(short.isin(short.value_counts().index[:maximum]), OTHERS)


def _count(names: "pd.Series[str]") -> dict[str, int]:
    """Returns the number of each name, most frequent first, then by name."""
    ordered = sorted(names.value_counts().items(), key=lambda item: (-item[1], item[0]))
    return {str(name): int(count) for name, count in ordered}
