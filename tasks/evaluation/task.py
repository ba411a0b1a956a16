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
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks import versions
from tasks.atomic import atomic_folder
from tasks.dataset.task import Dataset
from tasks.evaluation.champion import Champion, compare_with_champion
from tasks.evaluation.charts import draw_charts
from tasks.evaluation.report import render_report
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


@task(name="evaluate", cache_policy=NO_CACHE)
def evaluate(
    dataset: Dataset,
    features_folder: Path,
    posters_dir: Path,
    trained: TrainedHead,
    baselines: Sequence[TrainedHead],
    champion: Champion | None,
    min_films_per_genre: int,
    folder: Path,
) -> Evaluation:
    """Scores a head on the test split beside its baselines and the champion; writes figures and report.

    Leaves them alone if the same was scored before.
    """
    made_of = [
        versions.EVALUATION,
        *(head.folder.name for head in (trained, *baselines)),
        dataset.fingerprint,
        champion and [champion.id, min_films_per_genre],
    ]
    path = folder / "metrics.json"
    if path.exists() and (known := json.loads(path.read_text("utf-8"))).get("made_of") == made_of:
        logger.info("evaluation: %s is there already", trained.folder.name)
        return Evaluation(folder, known)
    test = read_examples(dataset, features_folder, "test")

    def ask(head: TrainedHead) -> NDArray[np.float32]:
        return predict_probabilities(keras.saving.load_model(head.head_path), test.features)

    def score_head(of: TrainedHead, probabilities: NDArray[np.float32]) -> dict[str, Any]:
        return {
            **score(test.genre_targets, probabilities, dataset.vocabulary),
            "validation_macro_f1": of.validation_macro_f1,
            "best_epoch": of.best_epoch,
            "epochs_run": of.epochs_run,
            "training_seconds": of.seconds,
        }

    probabilities = ask(trained)
    everything = np.ones(test.genre_targets.shape, np.float32)
    metrics: dict[str, Any] = {
        "made_of": made_of,
        "recipe": trained.settings.name,
        "threshold": THRESHOLD,
        "vocabulary": dataset.vocabulary,
        "num_films": dataset.num_films,
        "model": score_head(trained, probabilities),
        "baselines": {
            **{baseline.settings.name: score_head(baseline, ask(baseline)) for baseline in baselines},
            "predict_everything": score(test.genre_targets, everything, dataset.vocabulary),
        },
    }
    if champion:
        metrics["champion"] = compare_with_champion(
            champion, dataset, test, probabilities, features_folder, posters_dir, min_films_per_genre
        )
    histories = {head.settings.name: pd.read_csv(head.folder / "history.csv") for head in (trained, *baselines)}
    with atomic_folder(folder) as partial:
        (partial / "metrics.json").write_text(json.dumps(metrics, indent=2, ensure_ascii=False) + "\n", "utf-8")
        (partial / "report.md").write_text(render_report(metrics, with_charts=True), "utf-8")
        draw_charts(partial, metrics, histories)
    logger.info(
        "evaluation: macro-F1 %.3f on %d test films; %s",
        metrics["model"]["macro_f1"],
        len(test.imdb_ids),
        ", ".join(f"{name} {scores['macro_f1']:.3f}" for name, scores in metrics["baselines"].items()),
    )
    return Evaluation(folder, metrics)
