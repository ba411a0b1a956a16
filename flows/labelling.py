"""Predict the pieces of a label run that no earlier run has predicted."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from flows.runners import RunnerError, open_runner
from flows.spreading import Spreading
from tasks.errors import RepairedError
from tasks.model_folder import ModelFolder
from tasks.posters.ledger import WORKER_DIED
from tasks.prediction.labelling import WORK, LabelPlan, make_error_rows
from tasks.prediction.pieces import LocalFiles, PiecePlan, PredictedPiece, count_reasons, read_piece
from tasks.prediction.predictor import Predictor
from tasks.prediction.predictors import CountedPredictor, keep_predictor
from tasks.prediction.task import predict_piece
from tasks.progress import Progress
from tasks.settings import RunnerSettings

logger = logging.getLogger(__name__)


def predict_posters(plan: LabelPlan, output_dir: Path, runner: RunnerSettings) -> list[pa.Table]:
    """Predicts posters, and returns the rows of all of them. Called within a flow.

    Args:
        plan: The posters.
        output_dir: Folder of the labels.
        runner: Settings of the runner.

    Raises:
        RegistryError: The model has no thresholds for this precision.
        RepairedError: A file of the posters was damaged; what was damaged is to be downloaded again.
        RunnerError: The processes or the cluster can't be used.
    """
    progress = Progress("prediction", plan.size, "images")
    with progress:
        for rows in plan.finished:
            progress.count(count_reasons(rows))
        given_up = _predict(plan, output_dir, runner, progress) if plan.pieces else []
    for path in plan.outdated:
        path.unlink()
    names = {piece.name for piece in given_up}
    predicted = [_read_rows(piece) for piece in plan.pieces if piece.name not in names]
    died = make_error_rows((image, WORKER_DIED) for piece in given_up for image in piece.source.images)
    return [*plan.finished, *predicted, died]


def _predict(plan: LabelPlan, output_dir: Path, settings: RunnerSettings, progress: Progress) -> list[PiecePlan]:
    """Writes the files of the pieces, and returns those that are given up."""
    if settings.kind == "threads":
        # One piece takes all cores.
        predictor = Predictor.open(plan.key.folder, plan.key.precision)
        with keep_predictor(plan.key, CountedPredictor(predictor, progress.count)):
            _check_posters([predict_piece(piece, plan.key).value for piece in plan.pieces])
        return []
    given_up, predicted = [], []
    work = output_dir / WORK
    work.mkdir(parents=True, exist_ok=True)
    with open_runner(settings, len(plan.pieces), work, _list_inputs(plan)) as runner:
        key = replace(plan.key, num_neighbours=runner.processes_per_machine)
        spreading = Spreading[PiecePlan]("prediction", runner, predict_piece, lambda piece: {"plan": piece, "key": key})
        done: PredictedPiece | None
        for piece, done in spreading.run(plan.pieces):
            if done is None:
                _give_up(piece, progress)
                given_up.append(piece)
                continue
            progress.count(done.reasons)
            predicted.append(done)
    _check_posters(predicted)
    return given_up


def _list_inputs(plan: LabelPlan) -> list[Path]:
    """Returns files that all workers must have: the model's manifest, and of each piece of local files one."""
    sources = (piece.source for piece in plan.pieces)
    examples = [Path(source.example) for source in sources if isinstance(source, LocalFiles) and source.example]
    return [ModelFolder(plan.key.folder).manifest_path, *examples]


def _give_up(piece: PiecePlan, progress: Progress) -> None:
    logger.warning(
        "prediction: %s is given up for this run, the processes that predicted it died: %d images have no labels (%s), "
        "the next run tries them again",
        piece.name,
        piece.size,
        WORKER_DIED,
        extra={"part": piece.name},
    )
    progress.count({WORKER_DIED: piece.size})


def _check_posters(predicted: Sequence[PredictedPiece]) -> None:
    if damages := [piece.damage for piece in predicted if piece.damage]:
        raise RepairedError(f"{'; '.join(damages)}: run again")


def _read_rows(piece: PiecePlan) -> pa.Table:
    """Returns the rows of a piece that was just written."""
    rows = read_piece(piece.path)
    if rows is not None:
        return rows
    if piece.path.exists():
        raise RepairedError(f"{piece.path} is damaged: run again, to predict its images again")
    raise RunnerError(
        f"{piece.path} is not there, though a worker has written it: expected one output folder for all workers (a "
        "shared disk)"
    )
