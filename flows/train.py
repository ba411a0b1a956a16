"""The main job: MovieGenre.csv in, a published model out."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import flow, unmapped
from prefect.task_runners import ThreadPoolTaskRunner

from flows import presentation
from tasks.atomic import remove_partials
from tasks.catalog.task import Catalog, read_catalog
from tasks.dataset.task import write_dataset
from tasks.evaluation.task import evaluate
from tasks.export.task import export_model
from tasks.features.backbone import Backbone, load_backbone
from tasks.features.cache import cache_dir
from tasks.features.task import embed_part, plan_embedding
from tasks.posters.progress import Progress
from tasks.posters.task import PosterCounts, check_success, count_posters, download_part, plan_downloads
from tasks.registry.task import Published, publish_model
from tasks.settings import Settings, TrainingSettings
from tasks.training.task import train_head

logger = logging.getLogger(__name__)

# While one part waits for its slowest poster, others go on. `posters.threads` is at least as many.
_PARTS_AT_ONCE = 4


@dataclass(frozen=True)
class Run:
    """What a run gave: the model, its figures (`metrics.json`), and the seconds of each stage."""

    published: Published
    metrics: dict[str, Any]
    seconds: dict[str, float]


@flow(name="train", task_runner=ThreadPoolTaskRunner(max_workers=_PARTS_AT_ONCE))  # type: ignore[arg-type]
def train(settings: Settings) -> Run:
    """Reads the catalog, downloads posters, learns their genres, and publishes the model."""
    seconds: dict[str, float] = {}
    _remove_leftovers(settings)
    with _timed("catalog", seconds):
        catalog = read_catalog(settings.catalog, settings.catalog_dir)
    with _timed("posters", seconds):
        counts = download_posters(catalog, settings)
        presentation.show_counts(catalog, counts)
        check_success(counts, settings.posters.min_success_rate)
    with _timed("dataset", seconds):
        dataset = write_dataset(
            catalog.films_path, settings.posters_dir, settings.shards_dir, settings.dataset, settings.seed
        )
    with _timed("features", seconds):
        backbone = load_backbone(settings.features)
        features_folder = embed_posters(backbone, settings)
    with _timed("training", seconds):
        trained, *baselines = (
            train_head(dataset, features_folder, settings.training_dir, recipe, settings.seed)
            for recipe in _recipes(settings)
        )
    with _timed("evaluation", seconds):
        evaluation = evaluate(dataset, features_folder, trained, baselines, settings.evaluation_dir)
    with _timed("export", seconds):
        export = export_model(
            dataset, features_folder, settings.posters_dir, backbone, trained, settings.export_dir, settings.export
        )
    with _timed("registry", seconds):
        published = publish_model(export, evaluation, backbone, settings)
    presentation.show_model(published, evaluation)
    logger.info("stages: %s", ", ".join(f"{stage} {taken:.1f} s" for stage, taken in seconds.items()))
    return Run(published, evaluation.metrics, seconds)


def download_posters(catalog: Catalog, settings: Settings) -> PosterCounts:
    """Downloads what is missing, some parts at a time, and counts what is there."""
    plans = plan_downloads(catalog.films_path, settings.posters_dir, settings.posters)
    num_asked = sum(len(plan.films) for plan in plans)
    if plans:
        threads = settings.posters.threads // min(_PARTS_AT_ONCE, len(plans))
        parts = download_part.map(plans, unmapped(settings.posters), unmapped(threads), unmapped(Progress(num_asked)))
        parts.result()
    return count_posters(catalog.films_path, settings.posters_dir, num_asked)


def embed_posters(backbone: Backbone, settings: Settings) -> Path:
    """Computes the features that are missing and returns their folder: TensorFlow uses all cores for one part."""
    folder = cache_dir(settings.features_dir, backbone.fingerprint)
    plans = plan_embedding(settings.posters_dir, folder)
    for plan in plans:
        embed_part(plan, folder, backbone, settings.features)
    if not plans:
        logger.info("features: nothing to embed, all posters' features are there")
    return folder


def _recipes(settings: Settings) -> list[TrainingSettings]:
    """Returns the recipe to publish, and behind it those to compare it with."""
    baselines = [TrainingSettings(recipe=name) for name in settings.evaluation.baselines]
    return [settings.training, *(baseline for baseline in baselines if baseline != settings.training)]


def _remove_leftovers(settings: Settings) -> None:
    """Removes what a killed run left half-written."""
    folders = [settings.data_dir, settings.artifacts_dir, settings.artifacts_dir / "models"]
    for folder in [*folders, *settings.data_dir.glob("*/"), *settings.features_dir.glob("*/")]:
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
