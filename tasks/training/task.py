"""The training stage: a task a recipe, and one for heads on folds."""

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks import versions
from tasks.atomic import atomic_folder
from tasks.checking import is_whole, write_checksums
from tasks.dataset.task import Dataset
from tasks.features.image_size import NUM_FEATURES
from tasks.features.views import WHOLE_POSTERS, Views
from tasks.fingerprints import Inputs, find_current, list_versions
from tasks.outputs.calibration import Calibration
from tasks.outputs.genres import GenresOutput
from tasks.outputs.output import Output, find_output_class
from tasks.progress import Progress
from tasks.settings import GENRES_ALONE, HeadSettings, TrainingSettings
from tasks.training.crossfitting import cross_fit
from tasks.training.examples import TrainingData, read_training_data
from tasks.training.fitting import Fitted, fit_heads, write_tensorboard
from tasks.training.head import build_logits_model, fold_calibration, predict
from tasks.training.thresholds import calibrate, cross_validate

logger = logging.getLogger(__name__)

_PROBABILITIES = "probabilities.npy"


@dataclass(frozen=True)
class TrainedHead:
    """A trained head on disk.

    Attributes:
        folder: Folder with `head.keras`, calibration folded in, `history.csv` (a row an epoch), `tensorboard/` and
            `training.json`.
        features_folder: Folder of the features that it takes.
        settings: The recipe as it was used.
        num_views: Number of views over which its predictions are averaged.
        outputs: Its outputs, genres first, with their calibration.
        best_epoch: The epoch whose weights were kept, from 1: the last, or with patience the best.
        epochs_run: Number of epochs.
        validation_macro_f1: Macro-F1 of that epoch, with thresholds from other films than it is measured on.
        seconds: Duration of the training.
    """

    folder: Path
    features_folder: Path
    settings: TrainingSettings
    num_views: int
    outputs: list[Output]
    best_epoch: int
    epochs_run: int
    validation_macro_f1: float
    seconds: float

    @property
    def head_path(self) -> Path:
        return self.folder / "head.keras"

    @property
    def calibration(self) -> Calibration:
        """Calibration of the genres, as it was folded into the head."""
        genres = self.outputs[0]
        if not isinstance(genres, GenresOutput) or genres.calibration is None:
            raise ValueError(f"expected calibrated genres as the first output. Received: {genres}")
        return genres.calibration

    @property
    def output_names(self) -> list[str]:
        return [output.name for output in self.outputs]


@task(name="train head", task_run_name="train head {settings.recipe}", cache_policy=NO_CACHE)
def train_head(
    dataset: Dataset,
    features_folder: Path,
    training_dir: Path,
    settings: TrainingSettings,
    seed: int,
    heads: HeadSettings = GENRES_ALONE,
    views: Views = WHOLE_POSTERS,
    num_last_features: int = NUM_FEATURES,
) -> TrainedHead:
    """Trains one recipe on cached features, unless a head from the same inputs exists.

    Args:
        dataset: The films.
        features_folder: Folder of their features.
        training_dir: Folder in which the head gets one of its own.
        settings: The recipe.
        seed: Seed of the initial weights, dropout and the order of the batches.
        heads: The outputs besides the genres.
        views: Number of views that have features; a recipe without views takes whole posters.
        num_last_features: Number of the backbone's last layer's features; a recipe without taps takes no others.
    """
    views = views if settings.views else WHOLE_POSTERS
    inputs = _collect_inputs(dataset, features_folder, settings, seed, heads, views)
    folder = training_dir / f"{settings.recipe}-{inputs.fingerprint[:12]}"
    if description := find_current(folder / "training.json", inputs):
        logger.info("training: %s is up to date", folder.name)
        return _load(folder, features_folder, description)
    start = time.monotonic()
    data = read_training_data(dataset, features_folder, views, num_last_features)
    with atomic_folder(folder) as partial:
        num_epochs = settings.num_heads * settings.epochs
        with Progress("training", num_epochs, f"epochs of {settings.recipe}", with_last_line=False) as progress:
            fitted = fit_heads(data, settings, seed, heads, progress.advance)
        outputs, validation_macro_f1 = _calibrate(fitted, data, settings)
        description = {
            **inputs.as_description(),
            "settings": settings.model_dump(mode="json"),
            "num_views": views.predicted,
            "outputs": {output.name: output.get_config() for output in outputs},
            "best_epoch": fitted.best_epoch,
            "epochs_run": len(fitted.history),
            "validation_macro_f1": validation_macro_f1,
            "seconds": time.monotonic() - start,
        }
        _write(partial, fitted, description)
    trained = _load(folder, features_folder, description)
    logger.info(
        "training: %s, %d epochs in %.1f s; best epoch %d, validation macro-F1 %.3f",
        trained.settings.name,
        trained.epochs_run,
        trained.seconds,
        trained.best_epoch,
        trained.validation_macro_f1,
    )
    return trained


def _calibrate(fitted: Fitted, data: TrainingData, settings: TrainingSettings) -> tuple[list[Output], float]:
    """Folds calibration and thresholds into a head.

    Returns:
        The outputs with their calibration, and macro-F1 of the validation split (see `cross_validate`).
    """
    validation = data.validation
    logits = predict(build_logits_model(fitted.head), validation.features)[GenresOutput.name]
    calibration = calibrate(validation.genre_targets, logits, settings.thresholds)
    fold_calibration(fitted.head, calibration)
    outputs = [
        output.with_calibration(calibration) if isinstance(output, GenresOutput) else output
        for output in fitted.outputs
    ]
    return outputs, cross_validate(validation.genre_targets, logits, settings.thresholds)


def _write(folder: Path, fitted: Fitted, description: dict[str, Any]) -> None:
    fitted.head.save(folder / "head.keras")
    write_tensorboard(fitted.history, folder / "tensorboard")
    fitted.history.to_csv(folder / "history.csv", index=False)
    (folder / "training.json").write_text(json.dumps(description, indent=2) + "\n", "utf-8")
    write_checksums(folder)


def _load(folder: Path, features_folder: Path, description: dict[str, Any]) -> TrainedHead:
    outputs = description["outputs"].items()
    return TrainedHead(
        folder=folder,
        features_folder=features_folder,
        settings=TrainingSettings.model_validate(description["settings"]),
        num_views=description["num_views"],
        outputs=[find_output_class(name).from_config(config) for name, config in outputs],
        best_epoch=description["best_epoch"],
        epochs_run=description["epochs_run"],
        validation_macro_f1=description["validation_macro_f1"],
        seconds=description["seconds"],
    )


@task(name="cross-fit heads", cache_policy=NO_CACHE)
def cross_fit_heads(
    dataset: Dataset,
    features_folder: Path,
    training_dir: Path,
    settings: TrainingSettings,
    num_folds: int,
    seed: int,
    views: Views = WHOLE_POSTERS,
    num_last_features: int = NUM_FEATURES,
) -> Path:
    """Trains heads on folds of the training split, and writes the predictions of each for its own fold.

    Nothing is done if they exist.

    Returns:
        A `.npy` file of calibrated probabilities, float32, shape `(num_films, num_genres)`, in a folder whose name
        tells their inputs.
    """
    views = views if settings.views else WHOLE_POSTERS
    inputs = _collect_inputs(dataset, features_folder, settings, seed, GENRES_ALONE, views)
    folder = training_dir / f"{settings.recipe}-{inputs.fingerprint[:12]}-in-{num_folds}-folds"
    if is_whole(folder):
        logger.info("training: %s is up to date", folder.name)
        return folder / _PROBABILITIES
    data = read_training_data(dataset, features_folder, views, num_last_features)
    with Progress("training", num_folds * settings.epochs, "epochs on folds", with_last_line=False) as progress:
        probabilities = cross_fit(data, settings, num_folds, seed, progress.advance)
    with atomic_folder(folder) as partial:
        np.save(partial / _PROBABILITIES, probabilities)
        write_checksums(partial)
    return folder / _PROBABILITIES


def _collect_inputs(
    dataset: Dataset,
    features_folder: Path,
    settings: TrainingSettings,
    seed: int,
    heads: HeadSettings,
    views: Views,
) -> Inputs:
    return Inputs(
        {
            "version": versions.TRAINING,
            "packages": list_versions(),
            "dataset": dataset.fingerprint,
            "features": features_folder.name,
            "views": [views.train, views.predicted],
            "training": settings.model_dump(mode="json"),
            "heads": heads.model_dump(mode="json"),
            "seed": seed,
        }
    )
