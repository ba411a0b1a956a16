"""The main job: MovieGenre.csv in, a published model out."""

import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
from prefect import flow, unmapped
from prefect.task_runners import ThreadPoolTaskRunner

from flows import presentation
from flows.journal import journal
from flows.watching import crash_killed_runs, report_failure, run_ids
from tasks.catalog.task import Catalog, read_catalog
from tasks.dataset.task import Dataset, write_dataset
from tasks.features.source import identify_source
from tasks.locking import locked
from tasks.model_folder import ModelFolder
from tasks.posters.progress import Progress
from tasks.posters.task import PosterCounts, check_success, count_posters, download_part, plan_downloads
from tasks.posters.workers import Workers
from tasks.registry.gate import judge
from tasks.registry.models import find_champion, read_champion_id, recover
from tasks.registry.stores import Store
from tasks.registry.task import Candidate, find_made_of, fingerprint_inputs, publish_model, push
from tasks.settings import Settings, TrainingSettings

if TYPE_CHECKING:
    from tasks.features.backbone import Backbone

logger = logging.getLogger(__name__)

# A core each; where there is one, the other goes on while one waits for its slowest poster.
_PARTS_AT_ONCE = max(2, joblib.cpu_count())


@dataclass(frozen=True)
class Run:
    """Result of a run.

    Attributes:
        model: The published model that belongs to the inputs of the run.
        is_champion: Whether it was the champion when the run ended.
        reasons: Reasons of the gate, in one line.
        is_new: Whether this run published it; otherwise its inputs had not changed.
        seconds: Duration of each stage.
    """

    model: ModelFolder
    is_champion: bool
    reasons: str
    is_new: bool
    seconds: dict[str, float]

    @property
    def metrics(self) -> dict[str, Any]:
        """Content of the model's `metrics.json`."""
        return self.model.read_metrics()


@flow(
    name="train",
    task_runner=ThreadPoolTaskRunner(max_workers=_PARTS_AT_ONCE),  # type: ignore[arg-type]
    on_failure=[report_failure],
    on_crashed=[report_failure],
    on_cancellation=[report_failure],
)
def train(settings: Settings) -> Run:
    """Reads the catalog, downloads posters, trains on their features and publishes the model, if any input changed."""
    with exclusive_run(settings):
        recover(settings.artifacts_dir)
        return _run(settings)


@contextmanager
def exclusive_run(settings: Settings) -> Iterator[None]:
    """Excludes other runs from `data_dir`, writes the log there, and removes what a killed run left half-written."""
    with (
        locked(settings.data_dir, "another run", settings.wait_seconds, {"runs": run_ids()}) as left_behind,
        journal(settings.workspace.folder("logs")),
    ):
        if left_behind:
            # A run that was killed and is started again has the same id.
            crash_killed_runs(set(left_behind.get("runs", [])) - set(run_ids()))
        settings.workspace.clear_leftovers()
        yield


def _run(settings: Settings) -> Run:
    # Errors of the last stage that can be found now are raised now.
    find_champion(settings.artifacts_dir)
    if settings.registry.publish_to:
        Store(settings.registry.publish_to)
    workspace = settings.workspace
    seconds: dict[str, float] = {}
    with _timed("catalog", seconds):
        catalog = read_catalog(settings.catalog, workspace.folder("catalog"))
    with _timed("posters", seconds):
        counts = download_posters(catalog, settings)
        presentation.show_counts(catalog, counts)
        check_success(counts, settings.posters.min_success_rate)
    with _timed("dataset", seconds):
        dataset = write_dataset(
            catalog_path=catalog.films_path,
            posters_dir=workspace.folder("posters"),
            splits_dir=workspace.folder("splits"),
            folder=workspace.folder("shards"),
            settings=settings.dataset,
            seed=settings.seed,
        )
    made_of = fingerprint_inputs(dataset, counts, identify_source(settings.features), settings)
    known = find_made_of(settings.artifacts_dir, made_of)
    if known:
        logger.info("up to date: the inputs of %s have not changed", known.id)
    model = known or _make_model(catalog, dataset, counts, made_of, settings, seconds)
    if settings.registry.publish_to:
        with _timed("push", seconds):
            push(settings.artifacts_dir, settings.registry.publish_to)
    reasons = model.read_manifest()["gate"]["reasons"]
    is_champion = model.id == read_champion_id(settings.artifacts_dir)
    presentation.show_model(model, reasons, is_champion=is_champion)
    logger.info("stages: %s", ", ".join(f"{stage} {taken:.1f} s" for stage, taken in seconds.items()))
    return Run(model, is_champion=is_champion, reasons=reasons, is_new=known is None, seconds=seconds)


def _make_model(
    catalog: Catalog,
    dataset: Dataset,
    counts: PosterCounts,
    made_of: str,
    settings: Settings,
    seconds: dict[str, float],
) -> ModelFolder:
    # These import TensorFlow, which takes seconds and which a run without new inputs does not need.
    from tasks.evaluation.champion import ChampionTest
    from tasks.evaluation.task import TrainedHeads, evaluate
    from tasks.export.task import export_model
    from tasks.features.backbone import load_backbone
    from tasks.features.joining import join_features
    from tasks.training.task import cross_fit_heads, train_head

    workspace, seed = settings.workspace, settings.seed
    posters_dir, training_dir = workspace.folder("posters"), workspace.folder("training")
    with _timed("features", seconds):
        backbone = load_backbone(settings.features)
        features = extract_features(dataset, backbone, settings)
        join_features(dataset, features)
    with _timed("training", seconds):
        trained = train_head(dataset, features, training_dir, settings.training, seed, settings.heads)
        baselines = [
            train_head(dataset, features, training_dir, baseline, seed) for baseline in _list_baselines(settings)
        ]
        folds = settings.evaluation.label_error_folds
        cross_fitted = (
            cross_fit_heads(dataset, features, training_dir, settings.training, folds, seed) if folds else None
        )
    with _timed("evaluation", seconds):
        champion = find_champion(settings.artifacts_dir)  # again: another may have been promoted since the start
        min_films = settings.registry.min_films_to_judge_genre
        evaluation = evaluate(
            dataset,
            TrainedHeads(trained, baselines, cross_fitted),
            ChampionTest(champion, min_films, posters_dir) if champion else None,
            workspace.folder("evaluation"),
            catalog_counts={"dropped": catalog.dropped, "doubtful": catalog.count_doubts()},
        )
    with _timed("export", seconds):
        export = export_model(dataset, posters_dir, backbone, trained, workspace.folder("export"), settings.export)
    with _timed("registry", seconds):
        verdict = judge(
            evaluation.metrics,
            counts,
            dataset.films_path,
            export.largest_difference,
            settings.registry,
        )
        description = {
            "made_of": made_of,
            "features": trained.features_folder.name,
            "backbone": {"source": backbone.source, "fingerprint": backbone.fingerprint},
        }
        candidate = Candidate(dataset, evaluation, export, verdict, description)
        model = publish_model(candidate, settings)
    presentation.show_evaluation(model, model.read_manifest()["gate"]["reasons"], evaluation.metrics)
    return model


def download_posters(catalog: Catalog, settings: Settings) -> PosterCounts:
    """Downloads what is missing, some parts at a time, and counts what is there."""
    plans = plan_downloads(catalog.films_path, settings.workspace.folder("posters"), settings.posters)
    outcomes: Counter[str] = Counter()
    if plans:
        num_workers = min(_PARTS_AT_ONCE, len(plans), settings.posters.connections)
        progress = Progress(sum(len(plan.films) for plan in plans))
        with Workers(num_workers) as workers:
            shared = (settings.posters, settings.posters.connections // num_workers, workers, progress)
            outcomes = sum(download_part.map(plans, *map(unmapped, shared)).result(), outcomes)
    return count_posters(catalog.films_path, settings.workspace.folder("posters"), outcomes)


def extract_features(dataset: Dataset, backbone: "Backbone", settings: Settings) -> Path:
    """Extracts the features of the images that have none, and returns their folder: one shard takes all cores."""
    from tasks.features.cache import FeatureKey
    from tasks.features.extraction import make_feature_extractor
    from tasks.features.task import extract_shard, plan_extraction

    folder = settings.workspace.folder("features") / FeatureKey(backbone.fingerprint, backbone.taps).folder_name
    plans = plan_extraction(dataset, folder)
    if not plans:
        logger.info("features: up to date, all images have features")
        return folder
    extractor = make_feature_extractor(backbone, settings.features)
    for plan in plans:
        extract_shard(plan, folder, extractor)
    return folder


def _list_baselines(settings: Settings) -> list[TrainingSettings]:
    """Returns the recipes to compare that of the run with; they learn the genres alone."""
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
