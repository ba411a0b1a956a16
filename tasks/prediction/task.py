"""The prediction stage."""

from pathlib import Path

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.model_folder import ModelFolder
from tasks.prediction.labelling import Labelled, write_labels


@task(name="label posters", cache_policy=NO_CACHE)
def label_posters(
    model_folder: Path, posters: pa.Table, output_dir: Path, *, with_files: bool, precision: float | None = None
) -> Labelled:
    """Labels posters with a published model; see `write_labels`."""
    return write_labels(ModelFolder(model_folder), posters, output_dir, with_files=with_files, precision=precision)
