"""The training stage: a task a recipe, and one for heads on folds."""

import hashlib
import json
import logging
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks import versions
from tasks.atomic import atomic_file, atomic_folder
from tasks.dataset.task import Dataset
from tasks.settings import GENRES_ALONE, HeadSettings, TrainingSettings
from tasks.training.crossfitting import cross_fit
from tasks.training.examples import Examples, read_examples
from tasks.training.fitting import Fitted, fit_head, write_tensorboard
from tasks.training.head import fold_calibration, run_head, take_logits
from tasks.training.outputs import GENRES, DecadeOutput
from tasks.training.thresholds import Calibration, calibrate, cross_validate

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedHead:
    """A trained head on disk.

    Attributes:
        folder: has `head.keras`, calibration folded in, `history.csv` (a row an epoch), `tensorboard/`
            and `training.json`.
        features_folder: the features that it is asked on.
        settings: the recipe as it was used.
        heads: its outputs.
        decades: first years of those that it tells apart; none, if it was not to.
        best_epoch: whose weights were kept, by validation macro-F1; from 1.
        epochs_run: how many there were.
        validation_macro_f1: of that epoch, on films other than those its thresholds were found on.
        calibration: of the genres, that was folded into the head.
        seconds: that the training took.
    """

    folder: Path
    features_folder: Path
    settings: TrainingSettings
    heads: HeadSettings
    decades: list[int]
    best_epoch: int
    epochs_run: int
    validation_macro_f1: float
    calibration: Calibration
    seconds: float

    @property
    def head_path(self) -> Path:
        return self.folder / "head.keras"


@task(name="train head", task_run_name="train head {settings.recipe}", cache_policy=NO_CACHE)
def train_head(
    dataset: Dataset,
    features_folder: Path,
    training_dir: Path,
    settings: TrainingSettings,
    seed: int,
    heads: HeadSettings = GENRES_ALONE,
) -> TrainedHead:
    """Trains one recipe on cached features; leaves it alone if the same was trained on the same before."""
    folder = training_dir / f"{settings.recipe}-{_fingerprint(dataset, features_folder, settings, heads, seed)}"
    if (folder / "training.json").exists():
        logger.info("training: %s is there already", folder.name)
        return _read(folder, features_folder)
    start = time.monotonic()
    train, validation = (read_examples(dataset, features_folder, split) for split in ("train", "validation"))
    with atomic_folder(folder) as partial:
        fitted = fit_head(train, validation, dataset.genres, settings, seed, heads)
        _write(partial, fitted, validation, settings, heads, seed, start)
    return _log(_read(folder, features_folder))


def _write(
    folder: Path,
    fitted: Fitted,
    validation: Examples,
    settings: TrainingSettings,
    heads: HeadSettings,
    seed: int,
    start: float,
) -> None:
    """Calibrates a head by its logits of the validation split, and writes all that is known of it."""
    logits = run_head(take_logits(fitted.head), validation.features)[GENRES]
    calibration = calibrate(validation.genre_targets, logits, settings.thresholds)
    fold_calibration(fitted.head, calibration)
    fitted.head.save(folder / "head.keras")
    write_tensorboard(fitted.history, folder / "tensorboard")
    fitted.history.to_csv(folder / "history.csv", index=False)
    description = {
        "settings": settings.model_dump(mode="json"),
        "heads": heads.model_dump(mode="json"),
        "decades": [
            decade for output in fitted.outputs if isinstance(output, DecadeOutput) for decade in output.decades
        ],
        "seed": seed,
        "best_epoch": fitted.best_epoch,
        "epochs_run": len(fitted.history),
        "validation_macro_f1": cross_validate(validation.genre_targets, logits, settings.thresholds),
        "calibration": {name: values.tolist() for name, values in vars(calibration).items()},
        "seconds": time.monotonic() - start,
    }
    (folder / "training.json").write_text(json.dumps(description, indent=2) + "\n", "utf-8")


def _log(trained: TrainedHead) -> TrainedHead:
    logger.info(
        "training: %s, %d epochs in %.1f s; best epoch %d, validation macro-F1 %.3f",
        trained.settings.name,
        trained.epochs_run,
        trained.seconds,
        trained.best_epoch,
        trained.validation_macro_f1,
    )
    return trained


@task(name="cross-fit heads", cache_policy=NO_CACHE)
def cross_fit_heads(
    dataset: Dataset, features_folder: Path, training_dir: Path, settings: TrainingSettings, num_folds: int, seed: int
) -> Path:
    """Trains heads on folds of the training split, and writes what each says of the films of the others.

    Leaves it alone if it is there already.

    Returns:
        A `.npy` file of calibrated probabilities, float32, shape `(num_films, num_genres)`.
    """
    made_of = _fingerprint(dataset, features_folder, settings, GENRES_ALONE, seed)
    path = training_dir / f"{settings.recipe}-{made_of}-in-{num_folds}-folds.npy"
    if path.exists():
        logger.info("training: %s is there already", path.name)
        return path
    start = time.monotonic()
    train, validation = (read_examples(dataset, features_folder, split) for split in ("train", "validation"))
    films = pq.read_table(dataset.films_path, columns=["sha256", "split"])
    hashes = films.filter(pc.field("split") == "train")["sha256"].to_pylist()
    probabilities = cross_fit(train, hashes, validation, dataset.genres, settings, num_folds, seed)
    with atomic_file(path) as partial, partial.open("wb") as file:
        np.save(file, probabilities)
    logger.info("training: %d heads on folds of the training split in %.1f s", num_folds, time.monotonic() - start)
    return path


def _fingerprint(
    dataset: Dataset, features_folder: Path, settings: TrainingSettings, heads: HeadSettings, seed: int
) -> str:
    made_of = [
        versions.TRAINING,
        *(version(name) for name in ("keras", "tensorflow", "scikit-learn", "scipy")),
        dataset.fingerprint,
        features_folder.name,
        settings.model_dump(mode="json"),
        heads.model_dump(mode="json"),
        seed,
    ]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]


def _read(folder: Path, features_folder: Path) -> TrainedHead:
    description = json.loads((folder / "training.json").read_text("utf-8"))
    return TrainedHead(
        folder=folder,
        features_folder=features_folder,
        settings=TrainingSettings.model_validate(description["settings"]),
        heads=HeadSettings.model_validate(description["heads"]),
        decades=description["decades"],
        best_epoch=description["best_epoch"],
        epochs_run=description["epochs_run"],
        validation_macro_f1=description["validation_macro_f1"],
        calibration=Calibration(
            **{name: np.array(values, np.float32) for name, values in description["calibration"].items()}
        ),
        seconds=description["seconds"],
    )
