"""The head: what is learned on top of the frozen features.

It gives a dict of its outputs by name (`tasks.training.outputs`). The genres' `logits` are a layer of their own, so
that calibration and thresholds can be folded into its weights.
"""

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from tasks.features.matrix import FeatureMatrix
from tasks.settings import TrainingSettings
from tasks.training.outputs import EMBEDDING, GENRES, LOGITS, Output
from tasks.training.thresholds import Calibration

Moments = tuple[NDArray[np.float64], NDArray[np.float64]]

HIDDEN = "hidden"

_ROWS_AT_ONCE = 4096

# A feature that is nearly constant in training would else blow up whatever differs from it later.
_MIN_VARIANCE = 1e-4


def measure_moments(features: FeatureMatrix) -> Moments:
    """Returns mean and variance of each feature, float64, shape `(num_features,)`."""
    mean, sum_of_squares = np.zeros((2, features.num_columns))
    for start in range(0, len(features), _ROWS_AT_ONCE):
        chunk = features.read(start, start + _ROWS_AT_ONCE).astype(np.float64)
        # Chan et al., "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances" (1979).
        num_rows, shift = start + len(chunk), chunk.mean(axis=0) - mean
        mean += shift * len(chunk) / num_rows
        sum_of_squares += chunk.var(axis=0) * len(chunk) + shift**2 * start * len(chunk) / num_rows
    return mean, sum_of_squares / len(features)


def build_head(
    outputs: Sequence[Output], settings: TrainingSettings, num_features: int, moments: Moments | None, seed: int
) -> keras.Model:
    """Builds the head: [standardise] - [dropout] - hidden ReLU layer - [dropout] - the outputs, side by side.

    Args:
        outputs: genres first.
        settings: the size, and which of the parts in brackets there are.
        num_features: inputs.
        moments: of the training split, as `measure_moments` gives them; None: nothing is standardised.
        seed: of the initial weights and of dropout.

    Returns:
        A model from features, shape `(batch_size, num_features)`, to the answers of the outputs by name.
    """
    keras.utils.set_random_seed(seed)
    features = keras.Input((num_features,), name="features")
    hidden = features
    if moments:
        mean, variance = moments
        hidden = keras.layers.Normalization(mean=mean, variance=np.maximum(variance, _MIN_VARIANCE))(hidden)
    if settings.dropout:
        hidden = keras.layers.Dropout(settings.dropout)(hidden)
    hidden = keras.layers.Dense(settings.hidden_units, activation="relu", name=HIDDEN)(hidden)
    if settings.dropout:
        hidden = keras.layers.Dropout(settings.dropout)(hidden)
    return keras.Model(features, {output.name: output.build(hidden) for output in outputs}, name="head")


def take_logits(head: keras.Model) -> keras.Model:
    """Returns a head without the sigmoid of its genres; the weights are shared."""
    return keras.Model(head.input, {**head.output, GENRES: head.get_layer(LOGITS).output}, name="head_logits")


def take_embedding(head: keras.Model) -> keras.Model:
    """Returns what turns features into an embedding: vectors of length 1, whose products say how alike posters are.

    It is the output made for that if the head has it, and else the hidden layer. The weights are shared.
    """
    if EMBEDDING in head.output:
        embedding = head.output[EMBEDDING]
    else:
        embedding = keras.layers.UnitNormalization(name=EMBEDDING)(head.get_layer(HIDDEN).output)
    return keras.Model(head.input, {EMBEDDING: embedding}, name="head_embedding")


def fold_calibration(head: keras.Model, calibration: Calibration) -> None:
    """Changes the weights of a head's logits so that its confidences are over 0.5 where a genre is decided for.

    Args:
        head: as `build_head` makes it; changed.
        calibration: of its logits.
    """
    logits = head.get_layer(LOGITS)
    logits.kernel.assign(logits.kernel * calibration.slopes)
    logits.bias.assign(calibration.fold(logits.bias.numpy()))


def run_head(head: keras.Model, features: FeatureMatrix, stop: int | None = None) -> dict[str, NDArray[np.float32]]:
    """Returns what a head gives by name of the output, shape `(num_posters, num_columns)` each.

    Args:
        head: as `build_head` or `take_logits` makes it.
        features: shape `(num_posters, num_features)`, of which a head trained without taps takes the first.
        stop: before this row; None for all.
    """
    # Not head.predict(): it traces a graph for every head, which takes longer than the few multiplications.
    features = features.take_columns(head.input.shape[1])
    stop = len(features) if stop is None else min(stop, len(features))
    parts = [
        head(features.read(start, min(start + _ROWS_AT_ONCE, stop)).astype(np.float32), training=False)
        for start in range(0, stop, _ROWS_AT_ONCE)
    ]
    return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}
