"""Probabilities of the training films by heads that have not learned from them."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.model_selection import GroupKFold

from tasks.outputs.genres import GenresOutput
from tasks.settings import TrainingSettings
from tasks.training.examples import TrainingData
from tasks.training.fitting import fit_head
from tasks.training.head import build_logits_model, predict
from tasks.training.thresholds import calibrate

logger = logging.getLogger(__name__)


def cross_fit(
    data: TrainingData,
    settings: TrainingSettings,
    num_folds: int,
    seed: int,
    on_epochs: Callable[[int], object] = lambda _: None,
) -> NDArray[np.float32]:
    """Trains a head for each fold of the training split, on the other folds, and predicts the genres of its own.

    Films that show the same image are in the same fold.

    Args:
        data: The films.
        settings: The recipe.
        num_folds: Number of folds, at least 2.
        seed: Seed of the folds and of the heads.
        on_epochs: As of `fit_heads`.

    Returns:
        Calibrated probabilities, shape `(len(data.train), num_genres)`.
    """
    start = time.monotonic()
    train, validation = data.train, data.validation
    probabilities = np.zeros(train.genre_targets.shape, np.float32)
    num_images = train.films["sha256"].nunique()
    folds = GroupKFold(min(num_folds, num_images), shuffle=True, random_state=seed)
    for others, fold in folds.split(train.films, groups=train.films["sha256"]):
        fitted = fit_head(replace(data, train=train.take(others)), settings, seed, on_epochs=on_epochs)
        model = build_logits_model(fitted.head)
        validation_logits = predict(model, validation.features)[GenresOutput.name]
        calibration = calibrate(validation.genre_targets, validation_logits, "calibrated")
        own = train.take(fold).features.take_views(validation.features.num_views)
        logits = predict(model, own)[GenresOutput.name]
        probabilities[fold] = expit(calibration.calibrate(logits))
    logger.info("training: %d heads on folds of the training split in %.1f s", num_folds, time.monotonic() - start)
    return probabilities
