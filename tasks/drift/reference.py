"""The champion's statistics: from its `statistics.json`, or what its other files tell."""

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.drift.counts import count_decades, count_targets
from tasks.drift.statistics import Statistics, decode_ids
from tasks.errors import one_line
from tasks.model_folder import ModelFolder

# Ten times what is written: another file is not read.
_MAX_BYTES = 10_000_000


@dataclass(frozen=True)
class Reference:
    """What a new model's data are compared with.

    Attributes:
        statistics: Statistics of the champion; None if it can't be compared with at all.
        known_ids: Ids of all films of its catalog; None if they are not known.
        missing: Reasons why there are less statistics than there could be, a line each.
    """

    statistics: Statistics | None
    known_ids: NDArray[np.int64] | None
    missing: tuple[str, ...] = ()


def read_reference(champion: ModelFolder) -> Reference:
    """Returns the statistics of the champion, which may be of an earlier version, or damaged."""
    problem = f"{champion.id} has no {champion.statistics_path.name}, it was published by an earlier version"
    if champion.statistics_path.is_file():
        try:
            return _read_statistics(champion)
        except (OSError, ValueError, pa.ArrowException) as error:
            problem = f"{champion.statistics_path} can't be read ({one_line(error)[:200]})"
    try:
        statistics = _count_films(champion)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        return Reference(None, None, (f"{problem}, and neither can its films ({one_line(error)[:200]})",))
    return Reference(statistics, None, (f"{problem}: its films and genres are compared",))


def _read_statistics(champion: ModelFolder) -> Reference:
    path = champion.statistics_path
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"{path.stat().st_size:,} bytes, expected at most {_MAX_BYTES:,}")
    statistics = Statistics.model_validate_json(path.read_bytes())
    if statistics.left_out is None:
        return Reference(statistics, None)
    learned = pq.read_table(champion.films_path, columns=["imdb_id"])["imdb_id"].to_numpy()
    return Reference(statistics, np.union1d(learned, decode_ids(statistics.left_out)))


def _count_films(champion: ModelFolder) -> Statistics:
    """Returns what `films.parquet` and `labels.json` tell, which every version wrote."""
    genres = [str(genre) for genre in json.loads(champion.labels_path.read_text("utf-8"))]
    films = pq.read_table(champion.films_path)
    targets = films["targets"].combine_chunks().flatten().to_numpy().reshape(films.num_rows, len(genres))
    return Statistics(
        dataset=None,
        num_catalog_films=None,
        num_films=films.num_rows,
        genres=count_targets(targets, genres),
        has_all_genres=False,
        decades=count_decades(films["year"].to_numpy()) if "year" in films.column_names else None,
        hosts=None,
        sizes={},
        predictions=None,
        embeddings=None,
        left_out=None,
    )
