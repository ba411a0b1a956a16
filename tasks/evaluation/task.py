"""The evaluation stage: a run uses the test split here alone, after every choice was made."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE
from scipy.special import expit

from tasks import versions
from tasks.atomic import atomic_folder
from tasks.dataset.splits import SPLITS
from tasks.dataset.task import Dataset
from tasks.evaluation.champion import compare_with_champion
from tasks.evaluation.charts import draw_calibration, draw_charts, draw_outputs, draw_thresholds
from tasks.evaluation.label_errors import describe_label_errors, find_label_errors
from tasks.evaluation.outputs import ask_head, score_embedding, score_outputs
from tasks.evaluation.report import render_report
from tasks.evaluation.scores import THRESHOLD, find_interval, measure_calibration, score
from tasks.model_folder import ModelFolder
from tasks.training.examples import Examples, read_examples
from tasks.training.outputs import GENRES
from tasks.training.task import TrainedHead
from tasks.training.thresholds import Calibration

logger = logging.getLogger(__name__)

# Likely label errors of each kind that are listed, and of those in the report.
_NUM_LABEL_ERRORS = 200
_NUM_SHOWN = 10


@dataclass(frozen=True)
class Evaluation:
    """An evaluation: `folder` has `metrics.json`, `report.md` and its charts; `metrics` is what the first says."""

    folder: Path
    metrics: dict[str, Any]


@task(name="evaluate", cache_policy=NO_CACHE)
def evaluate(
    dataset: Dataset,
    posters_dir: Path,
    trained: TrainedHead,
    baselines: Sequence[TrainedHead],
    champion: ModelFolder | None,
    min_films_per_genre: int,
    folder: Path,
    catalog_counts: Mapping[str, Mapping[str, int]] | None = None,
    cross_fitted: Path | None = None,
) -> Evaluation:
    """Scores a head on the test split beside its baselines and the champion; writes figures and report.

    Leaves them alone if the same was scored before.

    Args:
        dataset: the films.
        posters_dir: has the posters.
        trained: the head.
        baselines: to compare it with.
        champion: to hold it against, if there is one.
        min_films_per_genre: see `compare_with_champion`.
        folder: gets `metrics.json`, `report.md`, its charts and, if they are looked for, `label_errors.csv`.
        catalog_counts: `dropped` rows and `doubtful` films of the catalog by reason, for the report.
        cross_fitted: what heads that have not learned from them say of the training films, as
            `tasks.training.task.cross_fit_heads` writes it; None: no label errors are looked for.
    """
    made_of = [
        versions.EVALUATION,
        *(head.folder.name for head in (trained, *baselines)),
        dataset.fingerprint,
        champion and [champion.id, min_films_per_genre],
        catalog_counts,
        cross_fitted and cross_fitted.name,
    ]
    path = folder / "metrics.json"
    if path.exists() and (known := json.loads(path.read_text("utf-8"))).get("made_of") == made_of:
        logger.info("evaluation: %s is there already", trained.folder.name)
        return Evaluation(folder, known)
    train, validation, test = (read_examples(dataset, trained.features_folder, split) for split in SPLITS)

    answers = ask_head(trained, test)
    of_test = Said.by(answers[GENRES], trained.calibration)
    of_validation = Said.by(ask_head(trained, validation)[GENRES], trained.calibration)
    vocabulary = dataset.vocabulary
    metrics: dict[str, Any] = {
        "made_of": made_of,
        "recipe": trained.settings.name,
        "threshold": THRESHOLD,
        "vocabulary": vocabulary,
        "num_films": dataset.num_films,
        "heads": trained.heads.names,
        "model": _score_model(trained, test, of_test, vocabulary),
        "outputs": score_outputs(trained, train, test, answers),
        "embedding": score_embedding(trained, train, test),
        "baselines": _score_baselines(baselines, test, of_test, vocabulary),
    }
    if catalog_counts:
        metrics["catalog"] = catalog_counts
    errors = None
    if cross_fitted:
        held_out = [np.load(cross_fitted), of_validation.calibrated, of_test.calibrated]
        errors = _find_errors(dataset, held_out)
        metrics["label_errors"] = describe_label_errors(errors, _NUM_SHOWN)
    if champion:
        metrics["champion"] = compare_with_champion(
            champion, dataset, test, of_test.confidences, trained.features_folder, posters_dir, min_films_per_genre
        )
    histories = {head.settings.name: pd.read_csv(head.folder / "history.csv") for head in (trained, *baselines)}
    with atomic_folder(folder) as partial:
        (partial / "metrics.json").write_text(json.dumps(metrics, indent=2, ensure_ascii=False) + "\n", "utf-8")
        (partial / "report.md").write_text(render_report(metrics, with_charts=True), "utf-8")
        draw_charts(partial, metrics, histories)
        if trained.heads.names != (GENRES,):
            draw_outputs(partial, histories[trained.settings.name])
        of_curves = {"raw": of_test.raw, "calibrated": of_test.calibrated}
        draw_calibration(partial, test.genre_targets, of_curves, vocabulary)
        thresholds = {genre: figures["threshold"] for genre, figures in metrics["model"]["genres"].items()}
        draw_thresholds(partial, validation.genre_targets, of_validation.calibrated, thresholds)
        if errors is not None:
            errors.to_csv(partial / "label_errors.csv", index=False, float_format="%.4f")
    logger.info(
        "evaluation: macro-F1 %.3f (95%% interval %.3f to %.3f) on %d test films; %s",
        metrics["model"]["macro_f1"],
        *metrics["model"]["macro_f1_interval"],
        len(test.imdb_ids),
        ", ".join(f"{name} {scores['macro_f1']:.3f}" for name, scores in metrics["baselines"].items()),
    )
    return Evaluation(folder, metrics)


@dataclass(frozen=True)
class Said:
    """What a head says of the genres of films, shape `(num_films, num_genres)` each; see `Calibration`."""

    confidences: NDArray[np.float32]
    calibrated: NDArray[np.float32]
    raw: NDArray[np.float32]

    @classmethod
    def by(cls, logits: NDArray[np.float32], calibration: Calibration) -> "Said":
        """Returns it for the logits of the confidences."""
        return cls(expit(logits), expit(logits + calibration.thresholds), expit(calibration.unfold(logits)))


def _score_model(trained: TrainedHead, test: Examples, said: Said, vocabulary: Sequence[str]) -> dict[str, Any]:
    """Returns `score_head`, and by genre the threshold and how far its probabilities can be taken at their word."""
    model = score_head(trained, test, said.confidences, vocabulary)
    raw = measure_calibration(test.genre_targets, said.raw, vocabulary)
    calibrated = measure_calibration(test.genre_targets, said.calibrated, vocabulary)
    for genre, threshold in zip(vocabulary, expit(trained.calibration.thresholds), strict=True):
        model["genres"][genre] |= {
            "threshold": float(threshold),
            "raw_calibration_error": raw[genre]["calibration_error"],
            **calibrated[genre],
        }
    return model


def _score_baselines(
    baselines: Sequence[TrainedHead], test: Examples, said: Said, vocabulary: Sequence[str]
) -> dict[str, Any]:
    """Returns by name the scores of each, and how far what the model said is ahead."""

    def compare(scores: dict[str, Any], of_others: NDArray[np.float32]) -> dict[str, Any]:
        ahead = find_interval(test.genre_targets, said.confidences > THRESHOLD, of_others > THRESHOLD)
        return {**scores, "model_ahead_interval": ahead}

    scored = {}
    for baseline in baselines:
        asked = expit(ask_head(baseline, test)[GENRES])
        scored[baseline.settings.name] = compare(score_head(baseline, test, asked, vocabulary), asked)
    everything = np.ones(test.genre_targets.shape, np.float32)
    return {**scored, "predict_everything": compare(score(test.genre_targets, everything, vocabulary), everything)}


def _find_errors(dataset: Dataset, held_out: Sequence[NDArray[np.float32]]) -> pd.DataFrame:
    """Returns likely label errors, given calibrated probabilities of the films of each split."""
    films = pq.read_table(dataset.films_path, columns=["imdb_id", "title", "split", "targets"]).to_pandas()
    films = pd.concat([films[films["split"] == split] for split in SPLITS])
    return find_label_errors(films, np.concatenate(held_out), dataset.vocabulary, _NUM_LABEL_ERRORS)


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
