"""The evaluation stage: a run uses the test split here alone, after every choice was made."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE
from scipy.special import expit
from sklearn.preprocessing import normalize

from tasks import versions
from tasks.atomic import atomic_folder
from tasks.dataset.task import Dataset
from tasks.evaluation.champion import Champion, compare_with_champion
from tasks.evaluation.charts import draw_calibration, draw_charts, draw_outputs, draw_thresholds
from tasks.evaluation.neighbours import (
    embed_pieces,
    find_nearest,
    make_feature_embedder,
    measure_chance,
    measure_precision,
)
from tasks.evaluation.report import render_report
from tasks.evaluation.scores import (
    THRESHOLD,
    find_interval,
    measure_calibration,
    score,
    score_decade,
    score_score,
)
from tasks.training.examples import Examples, read_examples
from tasks.training.head import run_head, take_logits
from tasks.training.outputs import DECADE, GENRES, SCORE, describe_decade, pick_decades
from tasks.training.task import TrainedHead

logger = logging.getLogger(__name__)

# Of test films whose neighbours are looked for among those of the training split; more would say little more.
_MAX_QUERIES = 1000
_NUM_NEAREST = 10


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
    train, test = (read_examples(dataset, features_folder, split) for split in ("train", "test"))

    answers = ask_head(trained, test)
    calibration, logits = trained.calibration, answers[GENRES]
    confidences, calibrated = expit(logits), expit(logits + calibration.thresholds)
    raw = expit(calibration.unfold(logits))

    def compare(scores: dict[str, Any], of_others: NDArray[np.float32]) -> dict[str, Any]:
        ahead = find_interval(test.genre_targets, confidences > THRESHOLD, of_others > THRESHOLD)
        return {**scores, "model_ahead_interval": ahead}

    of_baselines = {
        baseline.settings.name: (baseline, expit(ask_head(baseline, test)[GENRES])) for baseline in baselines
    }
    everything = np.ones(test.genre_targets.shape, np.float32)
    model = score_head(trained, test, confidences, dataset.vocabulary)
    of_raw, of_calibrated = (
        measure_calibration(test.genre_targets, probabilities, dataset.vocabulary)
        for probabilities in (raw, calibrated)
    )
    for genre, threshold in zip(dataset.vocabulary, expit(calibration.thresholds), strict=True):
        model["genres"][genre] |= {
            "threshold": float(threshold),
            "raw_calibration_error": of_raw[genre]["calibration_error"],
            **of_calibrated[genre],
        }
    metrics: dict[str, Any] = {
        "made_of": made_of,
        "recipe": trained.settings.name,
        "threshold": THRESHOLD,
        "vocabulary": dataset.vocabulary,
        "num_films": dataset.num_films,
        "heads": trained.heads.names,
        "model": model,
        "outputs": score_outputs(trained, train, test, answers),
        "embedding": score_embedding(trained, train, test),
        "baselines": {
            **{
                name: compare(score_head(baseline, test, asked, dataset.vocabulary), asked)
                for name, (baseline, asked) in of_baselines.items()
            },
            "predict_everything": compare(score(test.genre_targets, everything, dataset.vocabulary), everything),
        },
    }
    if champion:
        metrics["champion"] = compare_with_champion(
            champion, dataset, test, confidences, features_folder, posters_dir, min_films_per_genre
        )
    histories = {head.settings.name: pd.read_csv(head.folder / "history.csv") for head in (trained, *baselines)}
    with atomic_folder(folder) as partial:
        (partial / "metrics.json").write_text(json.dumps(metrics, indent=2, ensure_ascii=False) + "\n", "utf-8")
        (partial / "report.md").write_text(render_report(metrics, with_charts=True), "utf-8")
        draw_charts(partial, metrics, histories)
        if trained.heads.names != (GENRES,):
            draw_outputs(partial, histories[trained.settings.name])
        draw_calibration(partial, test.genre_targets, {"raw": raw, "calibrated": calibrated}, dataset.vocabulary)
        validation = read_examples(dataset, features_folder, "validation")
        draw_thresholds(
            partial,
            validation.genre_targets,
            expit(ask_head(trained, validation)[GENRES] + calibration.thresholds),
            {genre: figures["threshold"] for genre, figures in model["genres"].items()},
        )
    logger.info(
        "evaluation: macro-F1 %.3f (95%% interval %.3f to %.3f) on %d test films; %s",
        metrics["model"]["macro_f1"],
        *metrics["model"]["macro_f1_interval"],
        len(test.imdb_ids),
        ", ".join(f"{name} {scores['macro_f1']:.3f}" for name, scores in metrics["baselines"].items()),
    )
    return Evaluation(folder, metrics)


def ask_head(trained: TrainedHead, examples: Examples) -> dict[str, NDArray[np.float32]]:
    """Returns what a head answers by output, of the genres the logits of its confidences, a row a film each."""
    return run_head(take_logits(keras.saving.load_model(trained.head_path)), examples.features)


def score_outputs(
    trained: TrainedHead, train: Examples, test: Examples, answers: Mapping[str, NDArray[np.float32]]
) -> dict[str, Any]:
    """Returns by name how good a head's outputs besides the genres are, on the test films that have a target."""
    figures: dict[str, Any] = {}
    if DECADE in answers and (dated := np.flatnonzero(test.years > 0)).size:
        columns, known = (pick_decades(years, trained.decades) for years in (test.years[dated], train.years))
        figures[DECADE] = score_decade(columns, answers[DECADE][dated], known)
        figures[DECADE]["majority"] = describe_decade(trained.decades[np.bincount(known[known >= 0]).argmax()])
    if SCORE in answers and (scored := np.flatnonzero(test.scores > 0)).size:
        of_films = answers[SCORE][scored, 0]
        figures[SCORE] = score_score(test.scores[scored], of_films, train.scores[train.scores > 0])
    return figures


def score_embedding(trained: TrainedHead, train: Examples, test: Examples) -> dict[str, Any]:
    """Returns how often the ten nearest training posters share a genre with a test poster: see `measure_precision`.

    Under `precision` for the model's embedding, for the network's features as they are, and for any posters at all.
    """
    queries = np.flatnonzero(test.genre_targets.any(axis=1))[:_MAX_QUERIES]
    if not queries.size:
        return {"num_queries": 0, "num_nearest": _NUM_NEAREST, "precision": {}}
    targets = test.genre_targets[queries], train.genre_targets
    by_model = make_feature_embedder(keras.saving.load_model(trained.head_path))
    precision = {}
    for name, embed in {"model": by_model, "features": normalize}.items():
        of_queries = embed(test.features.read(0, queries[-1] + 1)[queries].astype(np.float32))
        nearest, _ = find_nearest(of_queries, embed_pieces(embed, train.features), _NUM_NEAREST)
        precision[name] = measure_precision(nearest, *targets)
    precision["chance"] = measure_chance(*targets)
    return {"num_queries": len(queries), "num_nearest": _NUM_NEAREST, "precision": precision}


def score_head(
    trained: TrainedHead, examples: Examples, confidences: NDArray[np.float32], vocabulary: Sequence[str]
) -> dict[str, Any]:
    """Returns `scores.score` of a head's confidences, and how it was trained."""
    return {
        **score(examples.genre_targets, confidences, vocabulary),
        "validation_macro_f1": trained.validation_macro_f1,
        "best_epoch": trained.best_epoch,
        "epochs_run": trained.epochs_run,
        "training_seconds": trained.seconds,
    }
