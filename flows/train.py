"""The pipeline: MovieGenre.csv in, a published model out."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows import presentation
from flows.downloading import PARTS_AT_ONCE, download_posters
from flows.journal import journal
from flows.repairing import repeat_repaired
from flows.watching import crash_killed_runs, crashed_when_interrupted, report_failure, run_ids
from tasks.catalog.task import Catalog, read_catalog
from tasks.dataset.task import Dataset, write_dataset
from tasks.errors import RepairedError
from tasks.features.source import identify_source
from tasks.fingerprints import Inputs
from tasks.locking import locked
from tasks.model_folder import ModelFolder
from tasks.posters import ledger
from tasks.posters.task import PosterCounts, check_success
from tasks.registry.gate import judge
from tasks.registry.models import describe_format_mismatch, find_champion, read_champion_id, recover
from tasks.registry.stores import Store
from tasks.registry.task import Candidate, find_current_model, list_inputs, publish_model, push
from tasks.settings import Settings, TrainingSettings

if TYPE_CHECKING:
    from tasks.features.backbone import Backbone

logger = logging.getLogger(__name__)


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
    task_runner=ThreadPoolTaskRunner(max_workers=PARTS_AT_ONCE),  # type: ignore[arg-type]
    on_failure=[report_failure],
    on_crashed=[report_failure],
    on_cancellation=[report_failure],
)
def train(settings: Settings) -> Run:
    """Reads the catalog, downloads posters, trains on their features and publishes the model, if any input changed."""
    with exclusive_run(settings):
        recover(settings.artifacts_dir)
        return repeat_repaired(lambda: _run(settings))


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
        with crashed_when_interrupted():
            yield


def _run(settings: Settings) -> Run:
    # Errors of the last stage that can be found now are raised now.
    champion = find_champion(settings.artifacts_dir)
    if champion and (mismatch := describe_format_mismatch(champion)):
        logger.warning("registry: the champion stays until another model is promoted by hand: %s", mismatch)
    if settings.registry.publish_to:
        Store(settings.registry.publish_to)
    workspace = settings.workspace
    seconds: dict[str, float] = {}
    with _timed("catalog", seconds):
        catalog = read_catalog(settings.catalog, workspace.folder("catalog"), settings.posters.allow_private_hosts)
    with _timed("posters", seconds):
        counts = download_posters(catalog.read_addresses(), workspace.folder("posters"), settings.posters)
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
            champion=champion,
        )
    inputs = list_inputs(dataset, counts, identify_source(settings.features), settings)
    current = find_current_model(settings.artifacts_dir, inputs)
    model = current or _make_model(_Data(catalog, counts, dataset), inputs, settings, seconds)
    if settings.registry.publish_to:
        with _timed("push", seconds):
            push(settings.artifacts_dir, settings.registry.publish_to)
    is_champion = model.id == read_champion_id(settings.artifacts_dir)
    presentation.show_model(model, is_champion=is_champion)
    logger.info("stages: %s", ", ".join(f"{stage} {taken:.1f} s" for stage, taken in seconds.items()))
    return Run(
        model=model, is_champion=is_champion, reasons=model.gate_reasons, is_new=current is None, seconds=seconds
    )


@dataclass(frozen=True)
class _Data:
    """The results of the first stages."""

    catalog: Catalog
    counts: PosterCounts
    dataset: Dataset


def _make_model(data: _Data, inputs: Inputs, settings: Settings, seconds: dict[str, float]) -> ModelFolder:
    # These import TensorFlow, which takes seconds and which a run without new inputs does not need.
    from tasks.evaluation.champion import ChampionTest
    from tasks.evaluation.task import TrainedHeads, evaluate
    from tasks.export.task import export_model
    from tasks.features.backbone import load_backbone
    from tasks.features.joining import join_features
    from tasks.training.task import cross_fit_heads, train_head

    workspace, dataset = settings.workspace, data.dataset
    posters_dir = workspace.folder("posters")
    with _timed("features", seconds):
        backbone = load_backbone(settings.features)
        features = extract_features(dataset, backbone, settings)
        join_features(dataset, features)
    with _timed("training", seconds):
        train_recipe = partial(
            train_head,
            dataset=dataset,
            features_folder=features,
            training_dir=workspace.folder("training"),
            seed=settings.seed,
        )
        trained = train_recipe(settings=settings.training, heads=settings.heads)
        baselines = [train_recipe(settings=baseline) for baseline in _list_baselines(settings)]
        cross_fitted = None
        if settings.evaluation.label_error_folds:
            cross_fitted = cross_fit_heads(
                dataset=dataset,
                features_folder=features,
                training_dir=workspace.folder("training"),
                settings=settings.training,
                num_folds=settings.evaluation.label_error_folds,
                seed=settings.seed,
            )
    with _timed("evaluation", seconds):
        champion = find_champion(settings.artifacts_dir)  # read again: another may have been promoted since the start
        mismatch = describe_format_mismatch(champion) if champion else None
        min_films = settings.registry.min_films_to_judge_genre
        champion_test = None
        if champion and not mismatch:
            champion_test = ChampionTest(champion, min_films, posters_dir)
        evaluation = evaluate(
            dataset=dataset,
            heads=TrainedHeads(trained, baselines, cross_fitted),
            champion_test=champion_test,
            folder=workspace.folder("evaluation"),
            catalog_counts={"dropped": data.catalog.dropped, "doubtful": data.catalog.count_doubts()},
            top_k=settings.export.top_k,
        )
    with _timed("export", seconds):
        export = export_model(
            dataset=dataset,
            posters_dir=workspace.folder("posters"),
            backbone=backbone,
            trained=trained,
            folder=workspace.folder("export"),
            settings=settings.export,
        )
    with _timed("registry", seconds):
        verdict = judge(
            metrics=evaluation.metrics,
            counts=data.counts,
            dataset_films_path=dataset.films_path,
            export_difference=export.largest_difference,
            settings=settings.registry,
            format_mismatch=mismatch,
        )
        candidate = Candidate(
            inputs=inputs,
            dataset=dataset,
            features=trained.features_folder.name,
            backbone={"source": backbone.source, "fingerprint": backbone.fingerprint},
            evaluation=evaluation,
            export=export,
            verdict=verdict,
        )
        model = publish_model(candidate, settings)
    presentation.show_evaluation(model, evaluation.metrics)
    return model


def extract_features(dataset: Dataset, backbone: "Backbone", settings: Settings) -> Path:
    """Extracts the features of the images that have none, and returns their folder: one shard takes all cores.

    Raises:
        RepairedError: If shards were damaged, or images can't be decoded, which are then marked in the ledger.
    """
    from tasks.features.cache import FeatureKey
    from tasks.features.extraction import make_feature_extractor
    from tasks.features.task import extract_shard, plan_extraction

    folder = settings.workspace.folder("features") / FeatureKey(backbone.fingerprint, backbone.taps).folder_name
    plans = plan_extraction(dataset, folder, int(backbone.tapped.output.shape[1]))
    if not plans:
        logger.info("features: up to date, all images have features")
        return folder
    extractor = make_feature_extractor(backbone, settings.features)
    extractions = [extract_shard(plan, folder, extractor) for plan in plans]
    problems = [extraction.damage for extraction in extractions if extraction.damage]
    if undecodable := {sha256 for extraction in extractions for sha256 in extraction.undecodable}:
        ledger.mark_undecodable(settings.workspace.folder("posters"), undecodable)
        problems.append(f"{len(undecodable)} images that can't be decoded are left out")
    if problems:
        raise RepairedError(f"{'; '.join(problems)}: run again")
    return folder


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
