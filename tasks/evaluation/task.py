"""The evaluation stage: the test split is used here, once, after every choice was made."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.atomic import atomic_folder
from tasks.dataset.task import Dataset
from tasks.evaluation.report import write_report
from tasks.evaluation.scores import THRESHOLD, score
from tasks.training.examples import read_examples
from tasks.training.head import predict_probabilities
from tasks.training.task import TrainedHead

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """An evaluation: `folder` has `metrics.json`, `report.md` and its charts; `metrics` is what the first says."""

    folder: Path
    metrics: dict[str, Any]


@task(name="evaluate", cache_policy=NO_CACHE, tags=["evaluation"])
def evaluate(
    dataset: Dataset, features_folder: Path, trained: TrainedHead, baselines: Sequence[TrainedHead], folder: Path
) -> Evaluation:
    """Scores a head and its baselines on the test split, and writes the figures and the report into `folder`."""
    test = read_examples(dataset.films_path, features_folder, "test")

    def score_head(of: TrainedHead) -> dict[str, Any]:
        probabilities = predict_probabilities(keras.saving.load_model(of.head_path), test.features)
        return {
            **score(test.genre_targets, probabilities, dataset.vocabulary),
            "validation_macro_f1": of.validation_macro_f1,
            "best_epoch": of.best_epoch,
            "epochs_run": of.epochs_run,
            "training_seconds": of.seconds,
        }

    everything = np.ones(test.genre_targets.shape, np.float32)
    metrics: dict[str, Any] = {
        "recipe": trained.settings.name,
        "threshold": THRESHOLD,
        "vocabulary": dataset.vocabulary,
        "num_films": dataset.num_films,
        "model": score_head(trained),
        "baselines": {
            **{baseline.settings.name: score_head(baseline) for baseline in baselines},
            "predict_everything": score(test.genre_targets, everything, dataset.vocabulary),
        },
    }
    histories = {head.settings.name: pd.read_csv(head.folder / "history.csv") for head in (trained, *baselines)}
    with atomic_folder(folder) as partial:
        (partial / "metrics.json").write_text(json.dumps(metrics, indent=2, ensure_ascii=False) + "\n", "utf-8")
        write_report(partial, metrics, histories)
    logger.info(
        "evaluation: macro-F1 %.3f on %d test films; %s",
        metrics["model"]["macro_f1"],
        len(test.imdb_ids),
        ", ".join(f"{name} {scores['macro_f1']:.3f}" for name, scores in metrics["baselines"].items()),
    )
    return Evaluation(folder, metrics)
