"""How many verdicts of the gate each test film has given: each one selects a model on the film.

The counts are in the `films.parquet` of published models, from model to model: they outlive `data/`, and are no input
of the data set.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.checking import DamagedFileError, check_file, parquet_damage
from tasks.errors import RegistryError, one_line
from tasks.model_folder import ModelFolder
from tasks.registry.models import list_models

logger = logging.getLogger(__name__)

NUM_VERDICTS = "num_verdicts"


def count_verdicts(artifacts_dir: Path) -> dict[int, int]:
    """Returns how many verdicts test films of the published models have given.

    A model counts those of the models before it, so that the largest of a film's counts holds. One that was judged
    again has in its manifest how often. Models that can't be read count nothing. Those of version 0.1 have no counts:
    their test films have given one verdict.

    Returns:
        The number by imdbId, 1 or more; films that are not in it have given none.
    """
    counted = [_read_counts(model) for model in list_models(artifacts_dir)]
    if not counted:
        return {}
    largest = pd.concat(counted).groupby("imdb_id")[NUM_VERDICTS].max()
    return {int(film): int(count) for film, count in zip(largest.index.tolist(), largest.tolist(), strict=True)}


def write_model_films(dataset_films_path: Path, path: Path, earlier: Mapping[int, int]) -> None:
    """Writes a model's `films.parquet`: that of its data set, and `num_verdicts` (int32).

    Args:
        dataset_films_path: Path of the data set's `films.parquet`.
        path: Path of the model's.
        earlier: Verdicts that films have given before this model's, as `count_verdicts` returns them.
    """
    films = pq.read_table(dataset_films_path)
    counts = [
        earlier.get(film, 0) + 1 if split == "test" else 0
        for film, split in zip(films["imdb_id"].to_pylist(), films["split"].to_pylist(), strict=True)
    ]
    field = pa.field(NUM_VERDICTS, pa.int32(), nullable=False)
    pq.write_table(films.append_column(field, pa.array(counts, pa.int32())), path)


def _read_counts(model: ModelFolder) -> pd.DataFrame:
    """Returns `imdb_id` and `num_verdicts` of a model's test films, none if they can't be read."""
    path = model.films_path
    try:
        manifest = model.read_manifest()
        check_file(path, manifest["files"][path.name])
        with parquet_damage(path):
            names = [name for name in ("imdb_id", "split", NUM_VERDICTS) if name in pq.read_schema(path).names]
            films = pq.read_table(path, columns=names).filter(pc.field("split") == "test").drop_columns("split")
    except (DamagedFileError, RegistryError, OSError, KeyError) as error:
        logger.warning("%s: its verdicts are not counted (%s)", model.id, one_line(error))
        return pd.DataFrame({"imdb_id": [], NUM_VERDICTS: []})
    if NUM_VERDICTS not in films.column_names:
        films = films.append_column(NUM_VERDICTS, pa.array([1] * len(films), pa.int32()))
    counts: pd.DataFrame = films.to_pandas()
    counts[NUM_VERDICTS] += manifest.get("gate", {}).get(NUM_VERDICTS, 1) - 1
    return counts
