"""The head: what is learned on top of the frozen features."""

import keras
import numpy as np
from numpy.typing import NDArray

from tasks.settings import TrainingSettings

_ROWS_AT_ONCE = 4096

# A feature that is nearly constant in training would else blow up whatever differs from it later.
_MIN_VARIANCE = 1e-4


def build_head(
    num_genres: int, settings: TrainingSettings, train_features: NDArray[np.float32], seed: int
) -> keras.Model:
    """Builds the head: [standardise] - [dropout] - hidden ReLU layer - [dropout] - sigmoid.

    Args:
        num_genres: outputs.
        settings: the size, and which of the parts in brackets there are.
        train_features: shape `(num_posters, num_features)`, of the training split: what is standardised by.
        seed: of the initial weights and of dropout.

    Returns:
        A model from features, shape `(batch_size, num_features)`, to probabilities, shape `(batch_size, num_genres)`.
    """
    keras.utils.set_random_seed(seed)
    features = keras.Input((train_features.shape[1],), name="features")
    hidden = features
    if settings.standardise:
        variance = np.maximum(train_features.var(axis=0), _MIN_VARIANCE)
        hidden = keras.layers.Normalization(mean=train_features.mean(axis=0), variance=variance)(hidden)
    if settings.dropout:
        hidden = keras.layers.Dropout(settings.dropout)(hidden)
    hidden = keras.layers.Dense(settings.hidden_units, activation="relu", name="hidden")(hidden)
    if settings.dropout:
        hidden = keras.layers.Dropout(settings.dropout)(hidden)
    probabilities = keras.layers.Dense(num_genres, activation="sigmoid", name="probabilities")(hidden)
    return keras.Model(features, probabilities, name="head")


def predict_probabilities(head: keras.Model, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the head's probabilities, shape `(num_posters, num_genres)`.

    Args:
        head: as `build_head` makes it.
        features: shape `(num_posters, num_features)`.
    """
    # Not head.predict(): it traces a graph for every head, which takes longer than the few multiplications.
    starts = range(0, len(features), _ROWS_AT_ONCE)
    parts = [np.asarray(head(features[start : start + _ROWS_AT_ONCE], training=False)) for start in starts]
    return np.concatenate(parts)
