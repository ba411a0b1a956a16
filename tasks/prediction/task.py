"""The tasks of the prediction stage: one for each piece, and one that joins them."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.prediction.labelling import Labelled, write_labels
from tasks.prediction.pieces import PiecePlan, PredictedPiece, write_piece
from tasks.prediction.predictors import PredictorKey, find_predictor
from tasks.work_report import WorkReport, report_work


@task(name="predict posters", task_run_name="predict posters {plan.name}", cache_policy=NO_CACHE)
def predict_piece(plan: PiecePlan, key: PredictorKey) -> WorkReport[PredictedPiece]:
    """Predicts the images of one piece with the predictor of this process; see `write_piece`.

    Args:
        plan: The images.
        key: What decides the predictor.
    """
    return report_work(lambda: write_piece(plan, find_predictor(key)))


@task(name="label posters", cache_policy=NO_CACHE)
def label_posters(posters: pa.Table, predicted: Sequence[pa.Table], output_dir: Path) -> Labelled:
    """Writes the labels of posters; see `write_labels`."""
    return write_labels(posters, predicted, output_dir)
