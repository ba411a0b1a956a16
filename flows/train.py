"""The pipeline: MovieGenre.csv in, a published model out."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow

from flows import presentation
from flows.downloading import download_posters
from flows.extraction import extract_features
from flows.journal import journal
from flows.judging import Circumstances, judge_again
from flows.notification import notify_of_model
from flows.overrides import NO_OVERRIDES, Overrides
from flows.progress_artifacts import ProgressArtifacts
from flows.pruning import prune_after_run
from flows.repairing import repeat_repaired
from flows.sharding import choose_shard_writer
from flows.storing import StoredData, stored_data
from flows.time_limit import time_limit
from flows.watching import crash_killed_runs, crashed_when_interrupted, report_failure, run_ids
from flows.workers import check_worker
from tasks.catalog.task import Catalog, read_catalog
from tasks.dataset.task import Dataset, write_dataset
from tasks.export.onnx_file import check_packages
from tasks.features.source import identify_source
from tasks.fingerprints import Inputs
from tasks.locking import locked
from tasks.model_folder import ModelFolder
from tasks.posters.task import PosterCounts, check_success
from tasks.progress import reporting_to
from tasks.registry.adoption import adopt_champion
from tasks.registry.champions import describe_rank
from tasks.registry.gate import Findings, judge
from tasks.registry.models import describe_format_mismatch, find_champion, rank_models, read_champion_id, recover
from tasks.registry.task import Candidate, find_current_model, list_inputs, publish_model, push
from tasks.registry.verdicts import count_verdicts
from tasks.settings import Settings, TrainingSettings
from tasks.tracking.mlflow_run import is_wanted, log_to_mlflow

if TYPE_CHECKING:
    from tasks.evaluation.task import EvaluationContext, TrainedHeads

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """Result of a run.

    Attributes:
        model: The published model that belongs to the inputs of the run.
        is_champion: Whether it was the champion when the run ended.
        rank: The same in a line: if it is not the champion, why not, who is, and how it could become it.
        is_new: Whether this run published it; otherwise its inputs had not changed.
        seconds: Duration of each stage.
    """

    model: ModelFolder
    is_champion: bool
    rank: str
    is_new: bool
    seconds: dict[str, float]

    @property
    def metrics(self) -> dict[str, Any]:
        """Content of the model's `metrics.json`."""
        return self.model.read_metrics()


@flow(name="train", on_failure=[report_failure], on_crashed=[report_failure], on_cancellation=[report_failure])
def train(settings: Settings, overrides: Overrides = NO_OVERRIDES) -> Run:
    """Reads the catalog, downloads posters, trains on their features and publishes the model, if any input changed.

    Args:
        settings: Settings of the run.
        overrides: Settings that replace single ones of these, such as those of a deployment.
    """
    settings = overrides.apply(settings)
    check_worker(settings.features)
    with exclusive_run(settings) as stored:
        recover(settings.artifacts_dir)
        run = repeat_repaired(lambda: _run(settings, stored))
        prune_after_run(settings, stored)
        return run


@contextmanager
def exclusive_run(settings: Settings) -> Iterator[StoredData]:
    """Excludes other runs from `data_dir`, writes the log there, and removes what a killed run left half-written.

    The same holds for the store, if there is one, whose folders are brought up to date and yielded. The block ends
    after `max_hours`.
    """
    with (
        locked(settings.data_dir, "another run", settings.wait_seconds, {"runs": run_ids()}) as left_behind,
        journal(settings.workspace.folder("logs")),
        time_limit(settings.max_hours),
        ProgressArtifacts() as artifacts,
        reporting_to(artifacts),
    ):
        if left_behind:
            # A run that was killed and is started again has the same id.
            crash_killed_runs(set(left_behind.get("runs", [])) - set(run_ids()))
        settings.workspace.clear_leftovers()
        with crashed_when_interrupted(), stored_data(settings) as stored:
            yield stored


def _run(settings: Settings, stored: StoredData) -> Run:
    # Errors of the last stages that can be found now are raised now.
    if settings.export.onnx:
        check_packages()
    publish_to = settings.publish_to
    store_champion_id = adopt_champion(settings.artifacts_dir, publish_to) if publish_to else None
    if store_champion_id:
        logger.info("registry: the champion of %s is %s", publish_to, store_champion_id)
    champion = find_champion(settings.artifacts_dir)
    if champion and (mismatch := describe_format_mismatch(champion)):
        logger.warning("registry: the champion stays until another model is promoted by hand: %s", mismatch)
    workspace = settings.workspace
    seconds: dict[str, float] = {}
    with _timed("catalog", seconds):
        catalog = read_catalog(settings.catalog, workspace.folder("catalog"), settings.posters.allow_private_hosts)
    with _timed("posters", seconds):
        addresses, posters_dir = catalog.read_addresses(), workspace.folder("posters")
        counts = download_posters(addresses, posters_dir, settings.posters, settings.runner)
        stored.commit("catalog", "posters")
        presentation.show_counts(catalog, counts)
        check_success(counts, settings.posters.min_success_rate)
    with _timed("dataset", seconds):
        dataset = write_dataset(
            catalog_path=catalog.films_path,
            posters_dir=posters_dir,
            splits_dir=workspace.folder("splits"),
            folder=workspace.folder("shards"),
            settings=settings.dataset,
            seed=settings.seed,
            models=rank_models(settings.artifacts_dir),
            write_shards=choose_shard_writer(settings),
        )
        stored.commit("splits", "shards")
    inputs = list_inputs(dataset, identify_source(settings.features), settings)
    data = _Data(catalog, counts, dataset, store_champion_id, stored)
    current = find_current_model(settings.artifacts_dir, inputs)
    is_judged = not current or judge_again(current, dataset, counts, settings, store_champion_id)
    model = current or _make_model(data, inputs, settings, seconds)
    if publish_to:
        with _timed("push", seconds):
            push(settings.artifacts_dir, publish_to, settings.registry.sign_with)
    is_champion = model.id == read_champion_id(settings.artifacts_dir)
    if is_wanted():
        with _timed("mlflow", seconds):
            log_to_mlflow(model)
    rank = describe_rank(model, settings.artifacts_dir)
    logger.info("registry: %s: %s", model.id, rank)
    presentation.show_model(model, rank)
    notify_of_model(settings, model, champion.id if champion else None, is_new=is_judged)
    logger.info("stages: %s", ", ".join(f"{stage} {taken:.1f} s" for stage, taken in seconds.items()))
    return Run(model=model, is_champion=is_champion, rank=rank, is_new=current is None, seconds=seconds)


@dataclass(frozen=True)
class _Data:
    """The results of the first stages, the id of the store's champion, if there is one, and the stored folders."""

    catalog: Catalog
    counts: PosterCounts
    dataset: Dataset
    store_champion_id: str | None
    stored: StoredData


def _make_model(data: _Data, inputs: Inputs, settings: Settings, seconds: dict[str, float]) -> ModelFolder:
    # These import TensorFlow, which takes seconds and which a run without new inputs does not need.
    from tasks.evaluation.task import evaluate
    from tasks.export.task import export_model
    from tasks.features.backbone import load_backbone
    from tasks.features.joining import join_features
    from tasks.report.page import collect_report
    from tasks.tracking.task import write_logs

    workspace, dataset = settings.workspace, data.dataset
    with _timed("features", seconds):
        backbone = load_backbone(settings.features)
        features = extract_features(dataset, backbone, settings)
        data.stored.commit("features")
        join_features(dataset, features, settings.views)
    with _timed("training", seconds):
        heads = _train_heads(dataset, features, backbone.num_last_features, settings)
    with _timed("evaluation", seconds):
        # Another model may have been promoted since the start.
        circumstances = Circumstances.read(data.counts, settings, data.store_champion_id)
        context = _collect_context(data, heads, circumstances, settings)
        evaluation = evaluate(dataset, heads, context, workspace.folder("evaluation"))
        report = collect_report(
            evaluation,
            dataset,
            catalog_path=data.catalog.films_path,
            posters_dir=workspace.folder("posters"),
            with_posters=settings.evaluation.thumbnails,
        )
    with _timed("export", seconds):
        export = export_model(
            dataset=dataset,
            posters_dir=workspace.folder("posters"),
            backbone=backbone,
            trained=heads.model,
            folder=workspace.folder("export"),
            settings=settings.export,
        )
    with _timed("registry", seconds):
        findings = Findings(
            metrics=evaluation.metrics,
            counts=data.counts,
            dataset_films_path=dataset.films_path,
            export_difference=export.largest_difference,
            format_mismatch=circumstances.format_mismatch,
        )
        candidate = Candidate(
            inputs=inputs,
            dataset=dataset,
            features=features.name,
            num_views=heads.model.num_views,
            backbone={"source": backbone.source, "fingerprint": backbone.fingerprint},
            evaluation=evaluation,
            export=export,
            verdict=judge(findings, settings.registry, circumstances.values),
            report=replace(report, seconds=dict(seconds)),
            catalog={"catalog_sha256": data.catalog.sha256, "corrections_sha256": data.catalog.corrections_sha256},
        )
        model = publish_model(candidate, settings)
    with _timed("tracking", seconds):
        write_logs(
            model,
            dataset,
            heads.model,
            posters_dir=workspace.folder("posters"),
            folder=workspace.folder("tensorboard"),
            with_posters=settings.evaluation.thumbnails,
        )
    presentation.show_evaluation(model, evaluation.metrics)
    return model


def _train_heads(dataset: Dataset, features: Path, num_last_features: int, settings: Settings) -> "TrainedHeads":
    from tasks.evaluation.task import TrainedHeads
    from tasks.training.task import cross_fit_heads, train_head

    train_recipe = partial(
        train_head,
        dataset=dataset,
        features_folder=features,
        training_dir=settings.workspace.folder("training"),
        seed=settings.seed,
        views=settings.views,
        num_last_features=num_last_features,
    )
    trained = train_recipe(settings=settings.training, heads=settings.heads)
    baselines = [train_recipe(settings=baseline) for baseline in _list_baselines(settings)]
    cross_fitted = None
    if settings.evaluation.label_error_folds:
        cross_fitted = cross_fit_heads(
            dataset=dataset,
            features_folder=features,
            training_dir=settings.workspace.folder("training"),
            settings=settings.training,
            num_folds=settings.evaluation.label_error_folds,
            seed=settings.seed,
            views=settings.views,
            num_last_features=num_last_features,
        )
    return TrainedHeads(trained, baselines, cross_fitted)


def _collect_context(
    data: _Data, heads: "TrainedHeads", circumstances: Circumstances, settings: Settings
) -> "EvaluationContext":
    from tasks.drift.task import measure_drift
    from tasks.evaluation.rivals import Rivals
    from tasks.evaluation.task import EvaluationContext

    posters_dir = settings.workspace.folder("posters")
    min_films = settings.registry.min_films_to_judge_genre
    return EvaluationContext(
        recipe=settings.recipe_name,
        top_k=settings.export.top_k,
        rivals=Rivals(circumstances.models, min_films, posters_dir) if circumstances.models else None,
        earlier_verdicts=count_verdicts(settings.artifacts_dir),
        drift=measure_drift(
            dataset=data.dataset,
            catalog_path=data.catalog.films_path,
            posters_dir=posters_dir,
            trained=heads.model,
            champion=find_champion(settings.artifacts_dir),
            settings=settings.drift,
        ),
        catalog_counts=data.catalog.count(),
    )


def _list_baselines(settings: Settings) -> list[TrainingSettings]:
    """Returns the recipes that the run's own is compared with; the genres are their only output."""
    baselines = (TrainingSettings(recipe=name) for name in settings.evaluation.baselines)
    return [baseline for baseline in baselines if baseline != settings.training]


@contextmanager
def _timed(stage: str, seconds: dict[str, float]) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds[stage] = time.monotonic() - start


if __name__ == "__main__":
    # With the options and the one-line errors of `poster-genres run`.
    from flows.cli import main

    main(["run", *sys.argv[1:]])
