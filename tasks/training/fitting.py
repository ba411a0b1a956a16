"""Fit a head to a training split, watching a validation split."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import pandas as pd

from tasks.settings import TrainingSettings
from tasks.training.examples import Examples
from tasks.training.head import build_head
from tasks.training.losses import MacroSoftF1
from tasks.training.metrics import F1ByLabel, MacroF1, PrecisionByLabel, RecallByLabel


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
    train: Examples,
    validation: Examples,
    vocabulary: Sequence[str],
    settings: TrainingSettings,
    seed: int,
    tensorboard_dir: Path | None = None,
) -> Fitted:
    """Trains a head. It stops early as the settings say, and keeps the weights of the best epoch.

    Args:
        train: what it learns from.
        validation: what its epochs are compared on, by macro-F1 at 0.5.
        vocabulary: the genres, in the order of the targets.
        settings: the recipe.
        seed: of the initial weights, dropout and the order of the batches.
        tensorboard_dir: where a TensorBoard log goes, if anywhere.
    """
    head = build_head(len(vocabulary), settings, train.features, seed)
    steps_per_epoch = -(-len(train.imdb_ids) // settings.batch_size)
    head.compile(
        optimizer=keras.optimizers.Adam(_make_schedule(settings, steps_per_epoch)),
        loss=MacroSoftF1() if settings.loss == "soft_f1" else keras.losses.BinaryCrossentropy(),
        metrics=[
            MacroF1(len(vocabulary)),
            PrecisionByLabel(vocabulary),
            RecallByLabel(vocabulary),
            F1ByLabel(vocabulary),
        ],
        jit_compile=False,  # compiling takes longer than all epochs of so small a network on a CPU
    )
    callbacks: list[keras.callbacks.Callback] = [
        keras.callbacks.EarlyStopping(
            "val_macro_f1",
            mode="max",
            patience=settings.patience or settings.epochs,
            restore_best_weights=True,
        )
    ]
    if tensorboard_dir:
        callbacks.append(keras.callbacks.TensorBoard(tensorboard_dir, write_graph=False, profile_batch=0))
    log = head.fit(
        train.features,
        train.genre_targets,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        validation_data=(validation.features, validation.genre_targets),
        callbacks=callbacks,
        verbose=0,
    )
    history = pd.DataFrame(log.history)
    history.insert(0, "epoch", range(1, len(history) + 1))
    best = int(history["val_macro_f1"].to_numpy().argmax())
    return Fitted(
        # A model of the same layers that was never compiled: saved, it has no optimiser's state three times its size.
        head=keras.Model(head.input, head.output, name="head"),
        history=history,
        best_epoch=best + 1,
        validation_macro_f1=float(history["val_macro_f1"].iloc[best]),
    )


def _make_schedule(
    settings: TrainingSettings, steps_per_epoch: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    if settings.schedule == "constant":
        return settings.learning_rate
    return keras.optimizers.schedules.CosineDecay(settings.learning_rate, settings.epochs * steps_per_epoch)
