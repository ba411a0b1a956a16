"""What heads say of films that they have not learned from, for every film of the training split."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from tasks.settings import TrainingSettings
from tasks.training.examples import Examples
from tasks.training.fitting import fit_head
from tasks.training.head import run_head, take_logits
from tasks.training.outputs import GENRES
from tasks.training.thresholds import calibrate


def cross_fit(
    train: Examples,
    hashes: Sequence[str],
    validation: Examples,
    vocabulary: Sequence[str],
    settings: TrainingSettings,
    num_folds: int,
    seed: int,
) -> NDArray[np.float32]:
    """Trains as many heads as folds, each on the others', and asks each about its own.

    Args:
        train: the films; those that show the same picture are in the same fold.
        hashes: of their pictures.
        validation: other films, by which each head's best epoch is chosen and its probabilities are calibrated.
        vocabulary: the genres, in the order of the targets.
        settings: the recipe.
        num_folds: at least 2.
        seed: of the folds and the heads.

    Returns:
        Calibrated probabilities, shape `(len(train), num_genres)`.
    """
    pictures, unique = pd.factorize(pd.Series(hashes))
    # Every so manieth, not one piece after another: a fold is then read from the whole file in order.
    fold_of = np.random.default_rng(seed).permutation(len(unique))[pictures] % num_folds
    probabilities = np.zeros(train.genre_targets.shape, np.float32)
    for fold in range(num_folds):
        own = np.flatnonzero(fold_of == fold)
        if not own.size:
            continue
        others = train.take(np.flatnonzero(fold_of != fold))
        head = take_logits(fit_head(others, validation, vocabulary, settings, seed).head)
        of_validation = run_head(head, validation.features)[GENRES]
        calibration = calibrate(validation.genre_targets, of_validation, "calibrated")
        logits = run_head(head, train.take(own).features)[GENRES]
        probabilities[own] = expit(calibration.slopes * logits + calibration.intercepts)
    return probabilities
