"""The prediction stage."""

from pathlib import Path

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.prediction.labelling import Labelled, write_labels
from tasks.prediction.predictor import Predictor


@task(name="label posters", cache_policy=NO_CACHE)
def label_posters(model_folder: Path, posters: pa.Table, output_dir: Path) -> Labelled:
    """Opens a published model and labels posters with it; see `write_labels`."""
    return write_labels(Predictor.open(model_folder), posters, output_dir)
