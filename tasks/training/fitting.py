"""Fit a head to a training split.

With a loop of its own, which evaluates all metrics once a chunk: on two cores with AVX2 it was 1.1 times as fast as
Keras's `fit` with `steps_per_execution=25` and the same fused optimizer (20 epochs, 6,253 films; 1.07 to 1.32 in three
turns), and 2.2 times as fast as a plain `fit`. It reads features from disk in chunks, whose memory is bounded, each
while the head learns from the one before.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from tasks.outputs.output import Output, OutputContext, make_outputs
from tasks.reading_ahead import read_ahead
from tasks.settings import GENRES_ALONE, HeadSettings, TrainingSettings
from tasks.training.examples import Examples, TrainingData
from tasks.training.head import average_heads, build_head, fit_scaler
from tasks.training.optimizer import FusedAdam

# The largest chunk of features in memory: 16,384 films of the article's batch size, 92 MB with two taps; fewer where
# features are wide.
_BATCHES_PER_CHUNK = 64
_MAX_CHUNK_BYTES = 100_000_000

Logs = dict[str, float]
Tensors = Mapping[str, tf.Tensor]  # by output


@dataclass(frozen=True)
class Fitted:
    """A trained head.

    Attributes:
        head: The head.
        outputs: Its outputs, genres first.
        history: A row an epoch: `epoch` (from 1), the loss and the metrics, those on validation named `val_...`; with
            more outputs than the genres, the loss of each, too.
        best_epoch: The epoch whose weights it has.
        validation_macro_f1: Validation macro-F1 at a raw 0.5, of that epoch.
    """

    head: keras.Model
    outputs: list[Output]
    history: pd.DataFrame
    best_epoch: int
    validation_macro_f1: float


def fit_head(
    data: TrainingData,
    settings: TrainingSettings,
    seed: int,
    heads: HeadSettings = GENRES_ALONE,
    on_epochs: Callable[[int], object] = lambda _: None,
) -> Fitted:
    """Trains one head, whatever `settings.num_heads` is; see `fit_heads`."""
    return fit_heads(data, settings.model_copy(update={"num_heads": 1}), seed, heads, on_epochs)


def fit_heads(
    data: TrainingData,
    settings: TrainingSettings,
    seed: int,
    heads: HeadSettings = GENRES_ALONE,
    on_epochs: Callable[[int], object] = lambda _: None,
) -> Fitted:
    """Trains `settings.num_heads` heads, and returns the one that averages them, with the history of the first.

    Each keeps the weights of the last epoch, or with `training.patience` of the best one. Features are read from disk a
    chunk at a time, each of films from all over the table, others each epoch, and the films of a chunk are shuffled.

    Args:
        data: The films; with patience epochs are compared by the genres' macro-F1 at 0.5 on the validation split.
        settings: The recipe.
        seed: Seed of the initial weights, dropout and the order of the batches, from which each head has its own.
        heads: The outputs besides the genres.
        on_epochs: Called with 1 after each epoch, and with the number of those that patience leaves out.

    Raises:
        DatasetError: No film of the training split has a target of one of the outputs.
    """
    num_features = None if settings.taps else data.num_last_features
    num_views = None if settings.views else 1
    train, validation = (examples.take_features(num_features, num_views) for examples in (data.train, data.validation))
    data = replace(data, train=train, validation=validation)
    scaler = fit_scaler(train.features) if settings.standardise else None
    seeds = range(seed * settings.num_heads, (seed + 1) * settings.num_heads)
    fitted = [_fit(data, settings, head_seed, heads, scaler, on_epochs) for head_seed in seeds]
    return replace(fitted[0], head=average_heads([each.head for each in fitted], fitted[0].outputs, settings))


def _fit(
    data: TrainingData,
    settings: TrainingSettings,
    seed: int,
    heads: HeadSettings,
    scaler: StandardScaler | None,
    on_epochs: Callable[[int], object],
) -> Fitted:
    """Trains one head on all features and views of `data`."""
    train, validation = data.train, data.validation
    outputs = make_outputs(OutputContext(data.genres, train, settings, heads))
    head = build_head(outputs, settings, train.features.num_columns, scaler, seed)
    train_chunks = _Chunks(train, outputs, settings.batch_size)
    validation_chunks = _Chunks(validation, outputs, settings.batch_size)
    optimizer = FusedAdam(
        _make_schedule(settings, train_chunks.num_batches), weight_decay=settings.weight_decay or None
    )
    optimizer.build(head.trainable_variables)
    scores = _Scores(outputs)
    train_chunk = _compile_training(head, optimizer, scores, settings.batch_size)
    validate_chunk = _compile_validation(head, scores, settings.batch_size)
    rng = np.random.default_rng(seed)
    rows: list[Logs] = []
    best: list[NDArray[np.float32]] = []
    best_epoch = 0
    for epoch in range(1, settings.epochs + 1):
        for features, targets in train_chunks.shuffled(rng):
            train_chunk(features, targets, rng.permutation(len(features)).astype(np.int32))
        row = {"epoch": epoch, **scores.take("")}
        for features, targets in validation_chunks.in_order():
            validate_chunk(features, targets)
        rows.append({**row, **scores.take("val_")})
        on_epochs(1)
        if settings.patience is None:
            best_epoch = epoch
        elif not best or rows[-1]["val_macro_f1"] > rows[best_epoch - 1]["val_macro_f1"]:
            best_epoch, best = epoch, head.get_weights()
        elif epoch - best_epoch >= settings.patience:
            on_epochs(settings.epochs - epoch)
            break
    if best:
        head.set_weights(best)
    history = pd.DataFrame(rows).astype({"epoch": int})
    return Fitted(head, outputs, history, best_epoch, rows[best_epoch - 1]["val_macro_f1"])


def write_tensorboard(history: pd.DataFrame, folder: Path) -> None:
    """Writes a history as TensorBoard logs: `train/` and `validation/`, curves of the same name over each other."""
    for split, prefix in (("train", ""), ("validation", "val_")):
        names = [name for name in history.columns.drop("epoch") if name.startswith("val_") == bool(prefix)]
        with tf.summary.create_file_writer(str(folder / split)).as_default():
            for epoch, *values in history[["epoch", *names]].itertuples(index=False):
                # An epoch at once: an operation for each value took 2.6 s for 20 epochs of 14 genres, not 0.2.
                scalars = Summary()
                for name, value in zip(names, values, strict=True):
                    scalars.MergeFrom(scalar_pb(name.removeprefix(prefix), value))
                tf.summary.experimental.write_raw_pb(scalars.SerializeToString(), step=epoch)


class _Scores:
    """The mean losses and the metrics since they were last taken."""

    def __init__(self, outputs: Sequence[Output]) -> None:
        self.outputs = list(outputs)
        self._total = keras.metrics.Mean(name="loss")
        self._losses = [keras.metrics.Mean(name=f"{output.name}_loss") for output in outputs]
        # Made here, not within a graph, which would be traced once more for their variables.
        self._metrics = [metric for output in outputs for metric in output.metrics]

    def measure_losses(self, targets: Tensors, predictions: Tensors) -> tf.Tensor:
        """Returns the loss of each output on a batch, shape `(num_outputs,)`."""
        return tf.stack(
            [output.measure_loss(targets[output.name], predictions[output.name]) for output in self.outputs]
        )

    def sum_losses(self, losses: tf.Tensor) -> tf.Tensor:
        """Returns the weighted sum of the outputs' losses, their last axis."""
        return tf.reduce_sum(losses * tf.constant([output.weight for output in self.outputs]), axis=-1)

    def update(self, losses: tf.Tensor, targets: Tensors, predictions: Tensors) -> None:
        """Adds films; `losses` has for each those of its batch, shape `(num_films, num_outputs)`."""
        self._total.update_state(self.sum_losses(losses))
        for column, (output, metric) in enumerate(zip(self.outputs, self._losses, strict=True)):
            metric.update_state(losses[:, column])
            output.update_metrics(targets[output.name], predictions[output.name])

    def take(self, prefix: str) -> Logs:
        """Returns them by name, and resets them."""
        logs = {}
        losses = self._losses if len(self._losses) > 1 else []  # one alone is the sum
        for metric in (self._total, *losses, *self._metrics):
            result = metric.result()
            logs.update(result if isinstance(result, dict) else {metric.name: result})
            metric.reset_state()
        return {prefix + name: float(value) for name, value in logs.items()}


class _Chunks:
    """Examples in pieces of whole batches, but for the last; while one is used, the next is read."""

    def __init__(self, examples: Examples, outputs: Sequence[Output], batch_size: int) -> None:
        self._features = examples.features
        self._targets = {output.name: output.read_targets(examples) for output in outputs}
        self._batch_size = batch_size
        num_batches = _MAX_CHUNK_BYTES // (2 * batch_size * examples.features.num_columns)
        self._batches_per_chunk = max(1, min(num_batches, _BATCHES_PER_CHUNK))
        self._starts = np.arange(0, len(examples), batch_size)
        self.num_batches = len(self._starts)

    def in_order(self) -> Iterator[tuple[Any, Any]]:
        """Yields features of the whole posters, and targets."""
        return self._read_ahead((starts, None) for starts in self._split(self._starts))

    def shuffled(self, rng: np.random.Generator) -> Iterator[tuple[Any, Any]]:
        """Yields pieces of films from all over the table, each film in a view that is drawn for it.

        A piece is made of runs of films, as many as a batch has, that are drawn for it: a catalog may be sorted, and
        runs are read from disk in a fraction of the time that single films take.
        """
        starts = self._starts
        if len(starts) > self._batches_per_chunk:
            # The last run may be shorter: only the last batch of an epoch is.
            starts = np.append(rng.permutation(starts[:-1]), starts[-1])
        # Numbers of its own for each, so that it does not matter when it is read.
        return self._read_ahead((chunk, rng.spawn(1)[0]) for chunk in self._split(starts))

    def _split(self, starts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        return np.split(starts, range(self._batches_per_chunk, len(starts), self._batches_per_chunk))

    def _read_ahead(
        self, chunks: Iterable[tuple[NDArray[np.int64], np.random.Generator | None]]
    ) -> Iterator[tuple[Any, Any]]:
        for chunk in read_ahead(lambda chunk: self._read(*chunk), chunks, 1):
            yield chunk.result()

    def _read(self, starts: NDArray[np.int64], rng: np.random.Generator | None) -> tuple[Any, Any]:
        size = self._batch_size
        runs = [
            slice(int(run[0]), int(run[-1]) + size)
            for run in np.split(starts, np.flatnonzero(np.diff(starts) != size) + 1)
        ]
        features = [
            self._features.read_mixed(run.start, run.stop, rng) if rng else self._features.read(run.start, run.stop)
            for run in runs
        ]
        targets = {name: np.concatenate([rows[run] for run in runs]) for name, rows in self._targets.items()}
        return np.concatenate(features), targets


def _signature(head: keras.Model, outputs: Sequence[Output]) -> list[Any]:
    return [
        tf.TensorSpec([None, head.input.shape[1]], tf.float16),
        {
            output.name: tf.TensorSpec([None, columns], dtype)
            for output in outputs
            for dtype, columns in [output.target_spec]
        },
    ]


def _compile_training(
    head: keras.Model, optimizer: keras.optimizers.Optimizer, scores: _Scores, batch_size: int
) -> Any:
    def train_batch(features: tf.Tensor, targets: Tensors) -> tuple[tf.Tensor, Tensors]:
        with tf.GradientTape() as tape:
            predictions = head(features, training=True)
            losses = scores.measure_losses(targets, predictions)
            total = scores.sum_losses(losses)
        optimizer.apply(tape.gradient(total, head.trainable_variables))
        return losses, predictions

    @tf.function(input_signature=[*_signature(head, scores.outputs), tf.TensorSpec([None], tf.int32)])
    def train_chunk(features: tf.Tensor, targets: Tensors, order: tf.Tensor) -> None:
        _over_batches(train_batch, features, targets, order, scores, batch_size)

    return train_chunk


def _compile_validation(head: keras.Model, scores: _Scores, batch_size: int) -> Any:
    def validate_batch(features: tf.Tensor, targets: Tensors) -> tuple[tf.Tensor, Tensors]:
        predictions = head(features, training=False)
        return scores.measure_losses(targets, predictions), predictions

    @tf.function(input_signature=_signature(head, scores.outputs))
    def validate_chunk(features: tf.Tensor, targets: Tensors) -> None:
        # In batches of the training's size, on which a soft-F1 loss depends.
        _over_batches(validate_batch, features, targets, tf.range(tf.shape(features)[0]), scores, batch_size)

    return validate_chunk


def _over_batches(
    run: Callable[[tf.Tensor, Tensors], tuple[tf.Tensor, Tensors]],
    features: tf.Tensor,
    targets: Tensors,
    order: tf.Tensor,
    scores: _Scores,
    batch_size: int,
) -> None:
    """Runs batch after batch, and counts the scores once: counting batch by batch took a tenth of the time."""
    num_batches = -(-tf.size(order) // batch_size)
    names = [output.name for output in scores.outputs]
    losses, *predictions = (
        tf.TensorArray(tf.float32, num_batches, infer_shape=False, element_shape=[None, columns])
        for columns in (len(names), *(output.num_columns for output in scores.outputs))
    )
    for batch in tf.range(num_batches):
        rows = order[batch * batch_size : (batch + 1) * batch_size]
        batch_losses, predicted = run(tf.cast(tf.gather(features, rows), tf.float32), _take_rows(targets, rows))
        losses = losses.write(batch, tf.repeat(batch_losses[tf.newaxis], tf.size(rows), axis=0))
        predictions = [array.write(batch, predicted[name]) for array, name in zip(predictions, names, strict=True)]
    all_predictions = {name: array.concat() for name, array in zip(names, predictions, strict=True)}
    scores.update(losses.concat(), _take_rows(targets, order), all_predictions)


def _take_rows(targets: Tensors, rows: tf.Tensor) -> Tensors:
    return {name: tf.gather(rows_of_output, rows) for name, rows_of_output in targets.items()}


def _make_schedule(
    settings: TrainingSettings, steps_per_epoch: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    if settings.schedule == "constant":
        return settings.learning_rate
    return keras.optimizers.schedules.CosineDecay(settings.learning_rate, settings.epochs * steps_per_epoch)
