"""The main job: MovieGenre.csv in, a published model out."""

import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
from prefect import flow, unmapped
from prefect.task_runners import ThreadPoolTaskRunner

from flows import presentation
from flows.journal import journal
from flows.watching import crash_killed_runs, report_failure, run_ids
from tasks.atomic import remove_partials
from tasks.catalog.task import Catalog, read_catalog
from tasks.dataset.task import Dataset, write_dataset
from tasks.features.source import identify_source
from tasks.locking import locked
from tasks.posters.progress import Progress
from tasks.posters.task import PosterCounts, check_success, count_posters, download_part, plan_downloads
from tasks.posters.workers import Workers
from tasks.registry.gate import judge
from tasks.registry.models import changing, find_champion
from tasks.registry.stores import Store
from tasks.registry.task import Published, find_made_of, fingerprint_inputs, publish_model, push
from tasks.settings import GENRES_ALONE, HeadSettings, Settings, TrainingSettings

if TYPE_CHECKING:
    from tasks.features.backbone import Backbone
    from tasks.training.task import TrainedHead

logger = logging.getLogger(__name__)

# A core each; where there is one, the other goes on while one waits for its slowest poster.
_PARTS_AT_ONCE = max(2, joblib.cpu_count())


@dataclass(frozen=True)
class Run:
    """What a run gave: the model, whether it was there already, and the seconds of each stage."""

    published: Published
    is_new: bool
    seconds: dict[str, float]

    @property
    def metrics(self) -> dict[str, Any]:
        """The model's `metrics.json`."""
        return dict(json.loads((self.published.folder / "metrics.json").read_text("utf-8")))


@flow(
    name="train",
    task_runner=ThreadPoolTaskRunner(max_workers=_PARTS_AT_ONCE),  # type: ignore[arg-type]
    on_failure=[report_failure],
    on_crashed=[report_failure],
    on_cancellation=[report_failure],
)
def train(settings: Settings) -> Run:
    """Reads the catalog, downloads posters, learns their genres, and publishes the model, if anything is new."""
    with at_work(settings):
        with changing(settings.artifacts_dir, "the start of a run"):
            pass  # what a killed run left there is seen to
        return _run(settings)


@contextmanager
def at_work(settings: Settings) -> Iterator[None]:
    """Keeps other runs out of `data_dir`, writes the log there, and clears away what a killed run left behind."""
    with (
        locked(settings.data_dir, "another run", settings.wait_seconds, {"runs": run_ids()}) as left_behind,
        journal(settings.logs_dir),
    ):
        if left_behind:
            # A run that was killed and is started again has the same id.
            crash_killed_runs(set(left_behind.get("runs", [])) - set(run_ids()))
        _remove_leftovers(settings)
        yield


def _run(settings: Settings) -> Run:
    # What would be in the way at the end is better found at the start.
    current = find_champion(settings.artifacts_dir)
    if current and current.format_mismatch:
        logger.warning(
            "registry: the champion stays until another model is promoted by hand, since it can't be compared with: %s",
            current.format_mismatch,
        )
    if settings.registry.publish_to:
        Store(settings.registry.publish_to)
    seconds: dict[str, float] = {}
    with _timed("catalog", seconds):
        catalog = read_catalog(settings.catalog, settings.catalog_dir)
    with _timed("posters", seconds):
        counts = download_posters(catalog, settings)
        presentation.show_counts(catalog, counts)
        check_success(counts, settings.posters.min_success_rate)
    with _timed("dataset", seconds):
        folders = (settings.posters_dir, settings.splits_dir, settings.shards_dir)
        dataset = write_dataset(catalog.films_path, *folders, settings.dataset, settings.seed)
    made_of = fingerprint_inputs(dataset, counts, identify_source(settings.features), settings)
    known = find_made_of(settings.artifacts_dir, made_of)
    if known:
        logger.info("nothing new: %s was made of the same films, posters and settings", known.id)
    published = known or _make_model(catalog, dataset, counts, made_of, settings, seconds)
    if settings.registry.publish_to:
        with _timed("push", seconds):
            push(settings.artifacts_dir, settings.registry.publish_to)
    presentation.show_model(published)
    logger.info("stages: %s", ", ".join(f"{stage} {taken:.1f} s" for stage, taken in seconds.items()))
    return Run(published, known is None, seconds)


def _make_model(
    catalog: Catalog,
    dataset: Dataset,
    counts: PosterCounts,
    made_of: str,
    settings: Settings,
    seconds: dict[str, float],
) -> Published:
    # What needs TensorFlow: it takes seconds to import, and a run that finds nothing new does without.
    from tasks.evaluation.champion import Champion
    from tasks.evaluation.task import evaluate
    from tasks.export.task import export_model
    from tasks.features.backbone import load_backbone
    from tasks.training.task import cross_fit_heads, train_head

    posters_dir = settings.posters_dir
    with _timed("features", seconds):
        backbone = load_backbone(settings.features)
        features = embed_posters(backbone, settings)
    with _timed("training", seconds):
        of_run = (dataset, features, settings.training_dir)
        trained, backbone = train_recipe(
            dataset, features, backbone, settings.training, settings, settings.seed, settings.heads
        )
        baselines = [train_head(*of_run, baseline, settings.seed) for baseline in _baselines(settings)]
        folds = settings.evaluation.label_error_folds
        cross_fitted = cross_fit_heads(*of_run, settings.training, folds, settings.seed) if folds else None
    with _timed("evaluation", seconds):
        current = find_champion(settings.artifacts_dir)  # anew: another may have been promoted meanwhile
        champion = None
        if current and not current.format_mismatch:
            champion = Champion(current.id, current.folder, current.manifest["genres"], current.manifest["features"])
        evaluation = evaluate(
            *(dataset, posters_dir, trained, baselines),
            *(champion, settings.registry.min_films_to_judge_genre, settings.evaluation_dir),
            catalog_counts={"dropped": catalog.dropped, "doubtful": catalog.count_doubts()},
            cross_fitted=cross_fitted,
        )
    with _timed("export", seconds):
        export = export_model(dataset, posters_dir, backbone, trained, settings.export_dir, settings.export)
    with _timed("registry", seconds):
        verdict = judge(
            evaluation.metrics,
            counts,
            dataset.films_path,
            export.largest_difference,
            settings.registry,
            current.format_mismatch if current else None,
        )
        about = {
            "made_of": made_of,
            "features": trained.features_folder.name,
            "backbone": {"source": backbone.source, "fingerprint": backbone.fingerprint},
        }
        published = publish_model(dataset, evaluation, export, verdict, about, settings)
    presentation.show_evaluation(published, evaluation.metrics)
    return published


def download_posters(catalog: Catalog, settings: Settings) -> PosterCounts:
    """Downloads what is missing, some parts at a time, and counts what is there."""
    plans = plan_downloads(catalog.films_path, settings.posters_dir, settings.posters)
    outcomes: Counter[str] = Counter()
    if plans:
        num_workers = min(_PARTS_AT_ONCE, len(plans), settings.posters.connections)
        progress = Progress(sum(len(plan.films) for plan in plans))
        with Workers(num_workers) as workers:
            shared = (settings.posters, settings.posters.connections // num_workers, workers, progress)
            outcomes = sum(download_part.map(plans, *map(unmapped, shared)).result(), outcomes)
    return count_posters(catalog.films_path, settings.posters_dir, outcomes)


def embed_posters(backbone: "Backbone", settings: Settings) -> Path:
    """Computes the features that are missing and returns their folder: one part takes all cores."""
    from tasks.features.cache import cache_dir
    from tasks.features.embedding import make_embedder
    from tasks.features.task import embed_part, plan_embedding

    folder = cache_dir(settings.features_dir, backbone.fingerprint, backbone.taps)
    plans = plan_embedding(settings.posters_dir, folder)
    if not plans:
        logger.info("features: nothing to embed, all posters' features are there")
        return folder
    embed = make_embedder(backbone, settings.features)
    for plan in plans:
        embed_part(plan, folder, embed)
    return folder


def train_recipe(
    dataset: Dataset,
    features: Path,
    backbone: "Backbone",
    recipe: TrainingSettings,
    settings: Settings,
    seed: int,
    heads: HeadSettings = GENRES_ALONE,
) -> "tuple[TrainedHead, Backbone]":
    """Trains a head, and if the recipe says so the backbone's last block with it.

    Args:
        dataset: the films.
        features: the backbone's, of their posters.
        backbone: as it was loaded.
        recipe: of the head.
        settings: of the run, for its folders and the engine.
        seed: of the training.
        heads: the outputs.

    Returns:
        The head, and the backbone whose features it is asked on, which are computed if they are not there.
    """
    from tasks.features.cutting import cut_trunk, load_tuned
    from tasks.training.task import fine_tune_head, train_head

    trained = train_head(dataset, features, settings.training_dir, recipe, seed, heads)
    if not recipe.fine_tune:
        return trained, backbone
    rows = embed_posters(cut_trunk(backbone), settings)
    tuned = fine_tune_head(dataset, rows, settings.training_dir, trained, backbone, recipe, seed)
    backbone = load_tuned(backbone, tuned.backbone_path)
    return replace(tuned, features_folder=embed_posters(backbone, settings)), backbone


def _baselines(settings: Settings) -> list[TrainingSettings]:
    """Returns the recipes to compare that of the run with; they learn the genres alone."""
    baselines = (TrainingSettings(recipe=name) for name in settings.evaluation.baselines)
    return [baseline for baseline in baselines if baseline != settings.training]


def _remove_leftovers(settings: Settings) -> None:
    """Removes what a killed run left half-written; nobody else writes to a run's folders while it has the lock."""
    for folder in settings.stage_dirs:
        remove_partials(folder.parent, folder.name)
        remove_partials(folder)
    for folder in settings.features_dir.glob("*/"):
        remove_partials(folder)


@contextmanager
def _timed(stage: str, seconds: dict[str, float]) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds[stage] = time.monotonic() - start


if __name__ == "__main__":
    # With the options and the one-line errors of `poster-genres run`.
    from flows.cli import main

    main(["run", *sys.argv[1:]])
