"""The head: the layers that are trained on top of the frozen features.

It returns a dict of its outputs by name (`tasks.outputs`). The genres' `logits` are a layer of their own, so that
calibration and thresholds can be folded into its weights.
"""

import random
from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.preprocessing import StandardScaler

from tasks.features.matrix import FeatureViews
from tasks.outputs.calibration import Calibration
from tasks.outputs.embedding import EmbeddingOutput
from tasks.outputs.genres import LOGITS, GenresOutput
from tasks.outputs.output import Output
from tasks.settings import TrainingSettings

HIDDEN = "hidden"
EMBEDDING = EmbeddingOutput.name

_ROWS_AT_ONCE = 4096

# A feature that is nearly constant in training would otherwise amplify every later difference.
MIN_VARIANCE = 1e-4


def fit_scaler(features: FeatureViews) -> StandardScaler:
    """Returns mean and variance of each feature over all views, read some thousands of rows at a time."""
    scaler = StandardScaler()
    for view in range(features.num_views):
        for start in range(0, len(features), _ROWS_AT_ONCE):
            scaler.partial_fit(features.read(start, start + _ROWS_AT_ONCE, view).astype(np.float64))
    return scaler


def build_head(
    outputs: Sequence[Output], settings: TrainingSettings, num_features: int, scaler: StandardScaler | None, seed: int
) -> keras.Model:
    """Builds the head: [standardise] - [dropout] - hidden ReLU layer - [dropout] - the outputs, side by side.

    Args:
        outputs: Outputs, genres first.
        settings: Size of the hidden layer, and which of the layers in brackets exist.
        num_features: Number of inputs.
        scaler: Moments of the training split; None: features are not standardised.
        seed: Seed of the initial weights and of dropout.

    Returns:
        A model from features, shape `(batch_size, num_features)`, to predictions by output.
    """
    keras.utils.set_random_seed(seed)
    features = keras.Input((num_features,), name="features")
    hidden = features
    if scaler:
        variance = np.maximum(scaler.var_, MIN_VARIANCE)
        hidden = keras.layers.Normalization(mean=scaler.mean_, variance=variance)(hidden)
    if settings.dropout:
        hidden = keras.layers.Dropout(settings.dropout)(hidden)
    hidden = keras.layers.Dense(settings.hidden_units, activation="relu", name=HIDDEN)(hidden)
    if settings.dropout:
        hidden = keras.layers.Dropout(settings.dropout)(hidden)
    head = keras.Model(features, {output.name: output.build(hidden) for output in outputs}, name="head")
    # In the order in which they were built, which is not that of the head's own list.
    parts = [keras.Model(features, hidden), *(keras.Model(hidden, tensor) for tensor in head.output.values())]
    _seed_layers([layer for part in parts for layer in part.layers], seed)
    return head


def _seed_layers(layers: Sequence[keras.Layer], seed: int) -> None:
    """Draws initial weights and the seeds of dropout again, as Keras does, but from random numbers of their own.

    Keras draws their seeds from Python's common ones, and so do threads of Prefect meanwhile, for pings and retries.
    """
    seeds = random.Random(seed)
    for layer in layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.seed_generator.state.assign(keras.random.SeedGenerator(_draw_seed(seeds)).state)
        elif isinstance(getattr(layer, "kernel_initializer", None), keras.initializers.GlorotUniform):
            initializer = keras.initializers.GlorotUniform(_draw_seed(seeds))
            layer.kernel.assign(initializer(layer.kernel.shape))


def _draw_seed(seeds: random.Random) -> int:
    return seeds.randint(1, 10**9)


def average_heads(heads: Sequence[keras.Model], outputs: Sequence[Output], settings: TrainingSettings) -> keras.Model:
    """Returns the head whose outputs, before their activations, are the averages of those of some heads.

    Their hidden layers lie side by side; the weights from them are divided by the number of heads. The embedding
    is that of the first head alone: vectors of several heads have no common directions.

    Args:
        heads: Heads of `build_head`, of the same settings.
        outputs: Their outputs.
        settings: Their settings.
    """
    if len(heads) == 1:
        return heads[0]
    features = keras.Input(heads[0].input.shape[1:], name="features")
    scaled = features
    for layer in heads[0].layers:
        if isinstance(layer, keras.layers.Normalization):
            scaled = layer(scaled)
    names = [HIDDEN, *(f"{HIDDEN}_{number}" for number in range(1, len(heads)))]
    hidden = [keras.layers.Dense(settings.hidden_units, activation="relu", name=name)(scaled) for name in names]
    joined = keras.layers.Concatenate(name="heads")(hidden)
    averaged = keras.Model(
        features,
        {output.name: output.build(hidden[0] if output.name == EMBEDDING else joined) for output in outputs},
        name="head",
    )
    for name, head in zip(names, heads, strict=True):
        averaged.get_layer(name).set_weights(head.get_layer(HIDDEN).get_weights())
    for layer in averaged.layers:
        if not isinstance(layer, keras.layers.Dense) or layer.name in names:
            continue
        # By name: the order of a model's layers is not that of another.
        kernels, biases = zip(*(head.get_layer(layer.name).get_weights() for head in heads), strict=True)
        if layer.kernel.shape == kernels[0].shape:
            layer.set_weights([kernels[0], biases[0]])
        else:
            layer.set_weights([np.concatenate(kernels) / len(heads), np.mean(biases, axis=0)])
    return averaged


def build_logits_model(head: keras.Model) -> keras.Model:
    """Returns a head without the sigmoid of its genres; the weights are shared."""
    return keras.Model(
        head.input, {**head.output, GenresOutput.name: head.get_layer(LOGITS).output}, name="head_logits"
    )


def build_embedding_model(head: keras.Model) -> keras.Model:
    """Returns a model from features to embeddings: vectors of length 1, whose products are similarities of posters.

    They are the output of that name if the head has it, otherwise the hidden layer, of averaged heads that of the
    first, normalised. The weights are shared.
    """
    if EMBEDDING in head.output:
        embedding = head.output[EMBEDDING]
    else:
        embedding = keras.layers.UnitNormalization(name=EMBEDDING)(head.get_layer(HIDDEN).output)
    return keras.Model(head.input, {EMBEDDING: embedding}, name="head_embedding")


def fold_calibration(head: keras.Model, calibration: Calibration) -> None:
    """Changes the weights of a head's logits so that its confidences are over 0.5 where a genre is predicted.

    Args:
        head: Head as `build_head` makes it; changed.
        calibration: Calibration of its logits.
    """
    logits = head.get_layer(LOGITS)
    logits.kernel.assign(logits.kernel * calibration.slopes)
    logits.bias.assign(calibration.fold(logits.bias.numpy()))


def predict(model: keras.Model, features: FeatureViews, stop: int | None = None) -> dict[str, NDArray[np.float32]]:
    """Returns predictions by output, averaged over the views.

    Args:
        model: Model of `build_logits_model`, or another that shares a head's layers.
        features: Features, shape `(num_posters, num_features)`, of which a head without taps takes the first.
        stop: First row that is left out; None: no row.

    Returns:
        Shape `(num_posters, num_columns)` each.
    """
    # Not Model.predict, which traces a graph for every head: that takes longer than the few multiplications.
    features = features.take_columns(model.input.shape[1])
    stop = len(features) if stop is None else min(stop, len(features))

    def predict_rows(start: int) -> dict[str, NDArray[np.float32]]:
        views = [
            model(features.read(start, min(start + _ROWS_AT_ONCE, stop), view).astype(np.float32), training=False)
            for view in range(features.num_views)
        ]
        return {name: np.mean([np.asarray(outputs[name]) for outputs in views], axis=0) for name in model.output}

    parts = [predict_rows(start) for start in range(0, stop, _ROWS_AT_ONCE)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def predict_confidences(
    head: keras.Model, features: FeatureViews, stop: int | None = None
) -> dict[str, NDArray[np.float32]]:
    """Returns a head's predictions by output, the genres' as confidences, whose logits are averaged; see `predict`."""
    predictions = predict(build_logits_model(head), features, stop)
    return {**predictions, GenresOutput.name: expit(predictions[GenresOutput.name])}
