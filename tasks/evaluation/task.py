"""The evaluation stage: scores the test split, on which no setting, epoch or threshold is chosen."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE
from scipy.special import expit

from tasks import versions
from tasks.atomic import atomic_folder
from tasks.checking import write_checksums
from tasks.dataset.splits import SPLITS
from tasks.dataset.task import Dataset
from tasks.drift.task import Drift
from tasks.evaluation.charts import (
    draw_calibration,
    draw_charts,
    draw_outputs,
    draw_precision_recall,
    draw_thresholds,
)
from tasks.evaluation.label_errors import describe_label_errors, find_label_errors, write_label_errors
from tasks.evaluation.neighbours import score_embedding
from tasks.evaluation.predictions import GenreScores, predict_genres, predict_logits, write_predictions
from tasks.evaluation.report import render_report
from tasks.evaluation.rivals import CandidatePredictions, Rivals, compare_with_rivals
from tasks.evaluation.scores import find_interval, measure_calibration, score_decades, score_decisions
from tasks.evaluation.verdicts import fingerprint_verdicts, score_by_verdicts
from tasks.fingerprints import Inputs, find_current
from tasks.model_folder import ModelFolder
from tasks.outputs.calibration import THRESHOLD
from tasks.outputs.decisions import DecisionRule, Order, sort_decided
from tasks.outputs.genres import GenresOutput
from tasks.training.examples import Examples, read_examples
from tasks.training.operating_points import MIN_FILMS, find_operating_points, measure_operating_points
from tasks.training.ranking import choose_order
from tasks.training.task import TrainedHead

logger = logging.getLogger(__name__)

# Number of likely label errors of each kind in label_errors.csv, and of those in metrics.json and report.html.
_NUM_LABEL_ERRORS = 200
_NUM_SHOWN = 30


@dataclass(frozen=True)
class TrainedHeads:
    """The heads of a run.

    Attributes:
        model: The head of the model.
        baselines: Heads to compare it with.
        cross_fitted_path: Probabilities of the training films as `cross_fit_heads` writes them; None: label errors are
            not listed.
    """

    model: TrainedHead
    baselines: Sequence[TrainedHead] = ()
    cross_fitted_path: Path | None = None


@dataclass(frozen=True)
class EvaluationContext:
    """What a model is seen beside.

    Attributes:
        recipe: Name of the run's recipe; None: that of the head's settings alone.
        top_k: Maximum number of genres in a prediction of the exported model, `export.top_k`.
        rivals: Present and earlier champions, to compare the model with; None: there are none.
        earlier_verdicts: Verdicts of the gate that films have given before, by imdbId.
        drift: The comparison with the champion's films, for metrics and report; its statistics go into the folder.
        catalog_counts: Numbers of rows and films of the catalog, as `Catalog.count` returns them, for the report.
    """

    recipe: str | None = None
    top_k: int | None = None
    rivals: Rivals | None = None
    earlier_verdicts: Mapping[int, int] = field(default_factory=dict)
    drift: Drift | None = None
    catalog_counts: Mapping[str, Mapping[str, int]] | None = None


@dataclass(frozen=True)
class Evaluation:
    """An evaluation: `folder` has `metrics.json`, `report.md` and its charts; `metrics` is the content of the first."""

    folder: Path
    metrics: dict[str, Any]


@dataclass(frozen=True)
class _Predictions:
    """Examples of a split, and the model's scores of their genres."""

    examples: Examples
    scores: GenreScores

    @property
    def targets(self) -> NDArray[np.uint8]:
        return self.examples.genre_targets


@task(name="evaluate", cache_policy=NO_CACHE)
def evaluate(
    dataset: Dataset,
    heads: TrainedHeads,
    context: EvaluationContext,
    folder: Path,
) -> Evaluation:
    """Scores a head on the test split beside its baselines and rivals; writes metrics and report.

    Nothing is done if an evaluation of the same inputs exists.

    Args:
        dataset: The films.
        heads: The heads.
        context: What the model is seen beside.
        folder: Folder to write, with `metrics.json`, `report.md`, its charts, `predictions.parquet`,
            `operating_points.json`, and if they were made `statistics.json` and `label_errors.csv`.
    """
    inputs = _collect_inputs(dataset, heads, context)
    if known := find_current(ModelFolder(folder).metrics_path, inputs):
        logger.info("evaluation: %s is up to date", heads.model.folder.name)
        return Evaluation(folder, known)
    trained, genres = heads.model, dataset.genres
    train, validation_films, test_films = (
        read_examples(dataset, trained.features_folder, split, trained.num_views) for split in SPLITS
    )
    test_outputs = predict_logits(trained, test_films)
    test = _Predictions(test_films, GenreScores.from_logits(test_outputs[GenresOutput.name], trained.calibration))
    validation_logits = predict_logits(trained, validation_films)[GenresOutput.name]
    validation = _Predictions(validation_films, GenreScores.from_logits(validation_logits, trained.calibration))
    order, ranking = choose_order(validation.targets, validation_logits, trained.calibration)
    rule = DecisionRule(order, context.top_k)
    decisions = test.scores.decide(rule)
    points = find_operating_points(validation.targets, validation.scores.calibrated, genres)
    metrics: dict[str, Any] = {
        **inputs.as_description(),
        "recipe": context.recipe or trained.settings.name,
        "threshold": THRESHOLD,
        "rule": rule.get_config(),
        "ranking": {**ranking, "first_genre_right": _score_first_genres(test, context.top_k)},
        "vocabulary": genres,
        "num_films": dataset.num_films,
        "heads": trained.output_names,
        "model": _score_model(trained, test, genres, rule),
        "decades": score_decades(test_films.films["year"].to_numpy(), test.targets, decisions),
        "operating_points": measure_operating_points(test.targets, test.scores.calibrated, points),
        "outputs": _score_outputs(trained, test_outputs, test_films, train),
        "embedding": score_embedding(trained, train, test_films),
        "baselines": _score_baselines(heads.baselines, test, genres, rule),
    }
    metrics["verdicts"] = score_by_verdicts(
        test_films.films["imdb_id"].tolist(), context.earlier_verdicts, test.targets, decisions
    )
    if context.catalog_counts:
        metrics["catalog"] = context.catalog_counts
    if context.drift:
        metrics["drift"] = context.drift.comparison
    label_errors = None
    if heads.cross_fitted_path:
        held_out = [np.load(heads.cross_fitted_path), validation.scores.calibrated, test.scores.calibrated]
        label_errors = _list_label_errors(dataset, held_out)
        metrics["label_errors"] = describe_label_errors(label_errors, _NUM_SHOWN)
    if context.rivals:
        candidate = CandidatePredictions(dataset, trained.features_folder, test_films, decisions)
        metrics["rivals"] = compare_with_rivals(context.rivals, candidate)
    with atomic_folder(folder) as partial:
        model = ModelFolder(partial)
        model.metrics_path.write_text(json.dumps(metrics, indent=2, ensure_ascii=False) + "\n", "utf-8")
        model.report_path.write_text(render_report(metrics, with_charts=True), "utf-8")
        described = {"split": "validation", "min_films": MIN_FILMS, "genres": points}
        model.operating_points_path.write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", "utf-8")
        write_predictions(
            model.predictions_path,
            test_films.films["imdb_id"].tolist(),
            test.targets,
            decisions,
            test.scores.calibrated,
        )
        _draw(partial, heads, metrics, validation, test)
        if context.drift:
            context.drift.write_statistics(model)
        if label_errors is not None:
            write_label_errors(label_errors, model.label_errors_path)
        write_checksums(partial)
    logger.info(
        "evaluation: macro-F1 %.3f (95%% interval %.3f to %.3f) on %d test films; %s",
        metrics["model"]["macro_f1"],
        *metrics["model"]["macro_f1_interval"],
        len(test_films),
        ", ".join(f"{name} {scores['macro_f1']:.3f}" for name, scores in metrics["baselines"].items()),
    )
    return Evaluation(folder, metrics)


def _collect_inputs(dataset: Dataset, heads: TrainedHeads, context: EvaluationContext) -> Inputs:
    rivals, drift = context.rivals, context.drift
    return Inputs(
        {
            "version": versions.EVALUATION,
            "heads": [head.folder.name for head in (heads.model, *heads.baselines)],
            "dataset": dataset.fingerprint,
            "rivals": rivals and [model.id for model in rivals.models],
            "min_films_per_genre": rivals and rivals.min_films_per_genre,
            "catalog": context.catalog_counts,
            "verdicts": fingerprint_verdicts(context.earlier_verdicts),
            "drift": drift and drift.fingerprint,
            "recipe": context.recipe,
            "top_k": context.top_k,
            "cross_fitted": heads.cross_fitted_path and heads.cross_fitted_path.parent.name,
        }
    )


def _score_first_genres(test: _Predictions, top_k: int | None) -> dict[str, float]:
    """Returns by order the share of films of which the first genre of the prediction is right."""
    shares = {}
    for order in get_args(Order):
        rule = DecisionRule(order, top_k)
        ranking = rule.rank(test.scores.confidences, test.scores.calibrated)
        first = sort_decided(test.scores.decide(rule), ranking)[:, 0]
        shares[order] = float(test.targets[np.arange(len(first)), first].mean())
    return shares


def _score_model(trained: TrainedHead, test: _Predictions, genres: Sequence[str], rule: DecisionRule) -> dict[str, Any]:
    """Returns `score_head`, and by genre its threshold and how well calibrated its probabilities are."""
    model = score_head(trained, test.targets, test.scores.decide(rule), genres)
    raw = measure_calibration(test.targets, test.scores.raw, genres)
    calibrated = measure_calibration(test.targets, test.scores.calibrated, genres)
    for genre, threshold in zip(genres, expit(trained.calibration.thresholds), strict=True):
        model["genres"][genre] |= {
            "threshold": float(threshold),
            "raw_calibration_error": raw[genre]["calibration_error"],
            **calibrated[genre],
        }
    return model


def _score_outputs(
    trained: TrainedHead, predictions: Mapping[str, NDArray[np.float32]], test: Examples, train: Examples
) -> dict[str, Any]:
    """Returns by name the scores of the outputs besides the genres, where test films have targets."""
    scored = {output.name: output.evaluate(predictions[output.name], test, train) for output in trained.outputs}
    return {name: scores for name, scores in scored.items() if scores}


def _score_baselines(
    baselines: Sequence[TrainedHead], test: _Predictions, genres: Sequence[str], rule: DecisionRule
) -> dict[str, Any]:
    """Returns by name the scores of each baseline, and the interval of the model's improvement on it.

    Baselines decide by the model's rule, except for the one that predicts everything.
    """
    decisions = {baseline.settings.name: predict_genres(baseline, test.examples).decide(rule) for baseline in baselines}
    scored = {
        baseline.settings.name: score_head(baseline, test.targets, decisions[baseline.settings.name], genres)
        for baseline in baselines
    }
    decisions["predict_everything"] = np.ones(test.targets.shape, bool)
    scored["predict_everything"] = score_decisions(test.targets, decisions["predict_everything"], genres)
    own = test.scores.decide(rule)
    for name, others in decisions.items():
        scored[name]["improvement_interval"] = find_interval(test.targets, own, others)
    return scored


def _list_label_errors(dataset: Dataset, held_out: Sequence[NDArray[np.float32]]) -> pd.DataFrame:
    """Returns likely label errors, given held-out calibrated probabilities of the films of each split."""
    films = pq.read_table(dataset.films_path, columns=["imdb_id", "title", "split", "targets"]).to_pandas()
    films = pd.concat([films[films["split"] == split] for split in SPLITS])
    return find_label_errors(films, np.concatenate(held_out), dataset.genres, _NUM_LABEL_ERRORS)


def _draw(
    folder: Path, heads: TrainedHeads, metrics: Mapping[str, Any], validation: _Predictions, test: _Predictions
) -> None:
    histories = {
        head.settings.name: pd.read_csv(head.folder / "history.csv") for head in (heads.model, *heads.baselines)
    }
    draw_charts(folder, metrics, histories)
    if len(heads.model.outputs) > 1:
        draw_outputs(folder, histories[heads.model.settings.name], heads.model.outputs)
    curves = {"raw": test.scores.raw, "calibrated": test.scores.calibrated}
    draw_calibration(folder, test.targets, curves, metrics["vocabulary"])
    draw_precision_recall(folder, test.targets, test.scores.calibrated, metrics["vocabulary"])
    thresholds = {genre: scores["threshold"] for genre, scores in metrics["model"]["genres"].items()}
    draw_thresholds(folder, validation.targets, validation.scores.calibrated, thresholds)


def score_head(
    trained: TrainedHead, genre_targets: NDArray[np.uint8], decisions: NDArray[np.bool_], genres: Sequence[str]
) -> dict[str, Any]:
    """Returns `score_decisions` for a head, and how it was trained."""
    return {
        **score_decisions(genre_targets, decisions, genres),
        "validation_macro_f1": trained.validation_macro_f1,
        "best_epoch": trained.best_epoch,
        "epochs_run": trained.epochs_run,
        "training_seconds": trained.seconds,
    }
