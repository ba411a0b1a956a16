"""Fit a head to a training split, watching a validation split.

Not by `head.fit`: for a network as small as this one the loop around it took longer than the network.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray

from tasks.features.backbone import NUM_FEATURES
from tasks.settings import TrainingSettings
from tasks.training.examples import Examples
from tasks.training.head import build_head, measure_moments
from tasks.training.losses import make_loss
from tasks.training.metrics import F1ByLabel, MacroF1, PrecisionByLabel, RecallByLabel
from tasks.training.optimizer import FusedAdam

# Batches of a chunk of features that is held in memory: 16,384 films of the article's batch size, 92 MB with two taps.
_BATCHES_PER_CHUNK = 64

Logs = dict[str, float]


@dataclass(frozen=True)
class Fitted:
    """A trained head.

    Attributes:
        head: with the weights of its best epoch.
        history: a row an epoch: `epoch` (from 1), the loss and the metrics, those on validation named `val_...`.
        best_epoch: the one with the best validation macro-F1.
        validation_macro_f1: of that epoch.
    """

    head: keras.Model
    history: pd.DataFrame
    best_epoch: int
    validation_macro_f1: float


def fit_head(
    train: Examples, validation: Examples, vocabulary: Sequence[str], settings: TrainingSettings, seed: int
) -> Fitted:
    """Trains a head. It stops early as the settings say, and keeps the weights of the best epoch.

    Features are read from disk a chunk at a time, in another order each epoch, and the films of a chunk are shuffled.

    Args:
        train: what it learns from.
        validation: what its epochs are compared on, by macro-F1 at 0.5.
        vocabulary: the genres, in the order of the targets.
        settings: the recipe.
        seed: of the initial weights, dropout and the order of the batches.
    """
    num_features = None if settings.taps else NUM_FEATURES
    train, validation = (
        dataclasses.replace(examples, features=examples.features.take_columns(num_features))
        for examples in (train, validation)
    )
    moments = measure_moments(train.features) if settings.standardise else None
    head = build_head(len(vocabulary), settings, train.features.num_columns, moments, seed)
    chunks, of_validation = (_Chunks(examples, settings.batch_size) for examples in (train, validation))
    optimizer = FusedAdam(_make_schedule(settings, chunks.num_batches))
    optimizer.build(head.trainable_variables)
    loss = make_loss(settings.loss)
    scores = _Scores(vocabulary)
    train_chunk = _compile_training(head, loss, optimizer, scores, settings.batch_size)
    validate_chunk = _compile_validation(head, loss, scores, settings.batch_size)
    rng = np.random.default_rng(seed)
    rows: list[Logs] = []
    best: list[NDArray[np.float32]] = []
    best_epoch = 0
    for epoch in range(1, settings.epochs + 1):
        for features, targets in chunks.shuffled(rng):
            train_chunk(features, targets, rng.permutation(len(features)).astype(np.int32))
        row = {"epoch": epoch, **scores.take("")}
        for features, targets in of_validation.in_order():
            validate_chunk(features, targets)
        rows.append({**row, **scores.take("val_")})
        if not best or rows[-1]["val_macro_f1"] > rows[best_epoch - 1]["val_macro_f1"]:
            best_epoch, best = epoch, head.get_weights()
        elif settings.patience and epoch - best_epoch >= settings.patience:
            break
    head.set_weights(best)
    history = pd.DataFrame(rows).astype({"epoch": int})
    return Fitted(head, history, best_epoch, rows[best_epoch - 1]["val_macro_f1"])


def write_tensorboard(history: pd.DataFrame, folder: Path) -> None:
    """Writes a history as TensorBoard logs: `train/` and `validation/`, curves of the same name over each other."""
    for split, prefix in (("train", ""), ("validation", "val_")):
        with tf.summary.create_file_writer(str(folder / split)).as_default():
            for name in history.columns.drop("epoch"):
                if name.startswith("val_") == bool(prefix):
                    for epoch, value in zip(history["epoch"], history[name], strict=True):
                        tf.summary.scalar(name.removeprefix(prefix), value, step=epoch)


class _Scores:
    """The mean loss and the metrics of what was shown since they were last taken."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self._loss = keras.metrics.Mean(name="loss")
        self._metrics = [
            MacroF1(len(vocabulary)),
            PrecisionByLabel(vocabulary),
            RecallByLabel(vocabulary),
            F1ByLabel(vocabulary),
        ]

    def update(self, losses: tf.Tensor, targets: tf.Tensor, probabilities: tf.Tensor) -> None:
        """Adds films; `losses` has for each the loss of its batch."""
        self._loss.update_state(losses)
        for metric in self._metrics:
            metric.update_state(targets, probabilities)

    def take(self, prefix: str) -> Logs:
        """Returns them by name and begins anew."""
        logs = {}
        for metric in (self._loss, *self._metrics):
            result = metric.result()
            logs.update(result if isinstance(result, dict) else {metric.name: result})
            metric.reset_state()
        return {prefix + name: float(value) for name, value in logs.items()}


class _Chunks:
    """Examples in pieces of whole batches, but for the last."""

    def __init__(self, examples: Examples, batch_size: int) -> None:
        self._examples = examples
        self._size = batch_size * _BATCHES_PER_CHUNK
        self._starts = np.arange(0, len(examples), self._size)
        self.num_batches = -(-len(examples) // batch_size)

    def in_order(self, starts: NDArray[np.int64] | None = None) -> Iterator[tuple[Any, Any]]:
        for start in self._starts if starts is None else starts:
            stop = start + self._size
            yield self._examples.features.read(start, stop), self._examples.genre_targets[start:stop]

    def shuffled(self, rng: np.random.Generator) -> Iterator[tuple[Any, Any]]:
        return self.in_order(rng.permutation(self._starts))


def _signature(head: keras.Model) -> list[tf.TensorSpec]:
    return [
        tf.TensorSpec([None, head.input.shape[1]], tf.float16),
        tf.TensorSpec([None, head.output.shape[1]], tf.uint8),
    ]


def _compile_training(
    head: keras.Model, loss: keras.losses.Loss, optimizer: keras.optimizers.Optimizer, scores: _Scores, batch_size: int
) -> Any:
    def train_batch(features: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            probabilities = head(features, training=True)
            value = loss(targets, probabilities)
        optimizer.apply(tape.gradient(value, head.trainable_variables))
        return value, probabilities

    @tf.function(input_signature=[*_signature(head), tf.TensorSpec([None], tf.int32)])
    def train_chunk(features: tf.Tensor, targets: tf.Tensor, order: tf.Tensor) -> None:
        _over_batches(train_batch, features, targets, order, scores, batch_size)

    return train_chunk


def _compile_validation(head: keras.Model, loss: keras.losses.Loss, scores: _Scores, batch_size: int) -> Any:
    def validate_batch(features: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        probabilities = head(features, training=False)
        return loss(targets, probabilities), probabilities

    @tf.function(input_signature=_signature(head))
    def validate_chunk(features: tf.Tensor, targets: tf.Tensor) -> None:
        # In batches of the training's size: what a soft-F1 loss says depends on it.
        _over_batches(validate_batch, features, targets, tf.range(tf.shape(features)[0]), scores, batch_size)

    return validate_chunk


def _over_batches(
    run: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    features: tf.Tensor,
    targets: tf.Tensor,
    order: tf.Tensor,
    scores: _Scores,
    batch_size: int,
) -> None:
    """Runs batch after batch, and counts the scores once: counting batch by batch took a tenth of the time."""
    num_batches = -(-tf.size(order) // batch_size)
    losses = tf.TensorArray(tf.float32, num_batches, infer_shape=False, element_shape=[None])
    probabilities = tf.TensorArray(tf.float32, num_batches, infer_shape=False, element_shape=[None, targets.shape[1]])
    for batch in tf.range(num_batches):
        rows = order[batch * batch_size : (batch + 1) * batch_size]
        loss, answer = run(
            tf.cast(tf.gather(features, rows), tf.float32), tf.cast(tf.gather(targets, rows), tf.float32)
        )
        losses = losses.write(batch, tf.repeat(loss, tf.size(rows)))
        probabilities = probabilities.write(batch, answer)
    scores.update(losses.concat(), tf.gather(targets, order), probabilities.concat())


def _make_schedule(
    settings: TrainingSettings, steps_per_epoch: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    if settings.schedule == "constant":
        return settings.learning_rate
    return keras.optimizers.schedules.CosineDecay(settings.learning_rate, settings.epochs * steps_per_epoch)
