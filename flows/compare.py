"""Compare recipes over several seeds, on the same films."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from prefect import flow

from flows.downloading import download_posters
from flows.extraction import extract_features
from flows.overrides import NO_OVERRIDES, Overrides
from flows.repairing import repeat_repaired
from flows.storing import StoredData
from flows.train import exclusive_run
from flows.watching import report_failure
from tasks.catalog.task import read_catalog
from tasks.dataset.task import Dataset, write_dataset
from tasks.posters.task import check_success
from tasks.recipes import RECIPES, RecipeName
from tasks.registry.models import rank_models
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.evaluation.comparison import Scored
    from tasks.training.task import TrainedHead

RECIPES_COMPARED: tuple[RecipeName, ...] = ("default", "seed", "seed_bce")


@dataclass(frozen=True)
class Comparison:
    """The result: scores of each recipe and seed in `comparison.json`, the table in `comparison.md`."""

    folder: Path
    table: str


@flow(
    name="compare",
    on_failure=[report_failure],
    on_crashed=[report_failure],
    on_cancellation=[report_failure],
)
def compare(
    settings: Settings,
    recipes: tuple[RecipeName, ...] = RECIPES_COMPARED,
    num_seeds: int = 3,
    num_held_out: int | None = None,
    overrides: Overrides = NO_OVERRIDES,
) -> Comparison:
    """Trains recipes with several seeds, each seed with a split of its own that all recipes share.

    Posters, features and trained heads that exist are reused. Nothing is published.

    Args:
        settings: Settings of all stages up to training. Their own recipe is compared, too, if it is altered; their
            seed is the first.
        recipes: Names of the recipes.
        num_seeds: Number of splits and trainings.
        num_held_out: Number of films, by image hash, that are the test split of every seed; None: each seed has a
            test split of its own.
        overrides: Settings that replace single ones of `settings`.
    """
    settings = overrides.apply(settings)
    candidates: dict[str, Settings] = {name: settings.with_recipe(name) for name in recipes}
    if settings.recipe_name not in RECIPES:
        candidates = {settings.recipe_name: settings, **candidates}
    seeds = range(settings.seed, settings.seed + num_seeds)
    with exclusive_run(settings) as stored:
        return _write(repeat_repaired(lambda: _run(settings, candidates, seeds, num_held_out, stored)), settings)


def _run(
    settings: Settings,
    candidates: dict[str, Settings],
    seeds: Sequence[int],
    num_held_out: int | None,
    stored: StoredData,
) -> "list[Scored]":
    workspace = settings.workspace
    catalog = read_catalog(settings.catalog, workspace.folder("catalog"), settings.posters.allow_private_hosts)
    counts = download_posters(catalog.read_addresses(), workspace.folder("posters"), settings.posters, settings.runner)
    stored.commit("catalog", "posters")
    check_success(counts, settings.posters.min_success_rate)
    # The shards are those of a run. Each comparison splits their films anew, whatever the champion was trained on.
    write = partial(
        write_dataset,
        catalog_path=catalog.films_path,
        posters_dir=workspace.folder("posters"),
        settings=settings.dataset,
    )
    sharded = write(
        splits_dir=workspace.folder("splits"),
        folder=workspace.folder("shards"),
        seed=settings.seed,
        models=rank_models(settings.artifacts_dir),
    )
    stored.commit("splits", "shards")
    datasets = {
        seed: write(
            splits_dir=None,
            folder=workspace.folder("comparison") / f"seed-{seed}",
            seed=seed,
            with_shards=False,
            among=sharded,
            num_held_out=num_held_out,
        )
        for seed in seeds
    }
    scored = [each for group in _group_by_features(candidates) for each in _score(group, sharded, datasets)]
    stored.commit("features")
    order = list(candidates)
    return sorted(scored, key=lambda each: (each.seed, order.index(each.recipe)))


def _group_by_features(candidates: dict[str, Settings]) -> list[dict[str, Settings]]:
    """Returns the candidates in groups whose features differ by the number of views alone."""
    groups: dict[Any, dict[str, Settings]] = {}
    for name, settings in candidates.items():
        key = settings.features.model_copy(update={"views": 1}).model_dump_json()
        groups.setdefault(key, {})[name] = settings
    return list(groups.values())


def _score(candidates: dict[str, Settings], sharded: Dataset, datasets: dict[int, Dataset]) -> "Iterator[Scored]":
    """Yields the scores of candidates that share their features."""
    # Imported late: TensorFlow takes seconds, and the error for a wrong catalog should not wait for it.
    from tasks.features.backbone import load_backbone
    from tasks.features.joining import join_features
    from tasks.features.views import Views
    from tasks.training.task import train_head

    widest = max(candidates.values(), key=lambda settings: settings.features.views)
    num_views = widest.features.views
    # The films of training with one seed are those of testing with another.
    backbone = load_backbone(widest.features)
    features = extract_features(sharded, backbone, widest, Views(num_views, num_views))
    num_predicted = max(settings.export.views for settings in candidates.values())
    for seed, dataset in datasets.items():
        join_features(dataset, features, Views(num_views, num_predicted))
        for name, settings in candidates.items():
            trained = train_head(
                dataset,
                features,
                settings.workspace.folder("training"),
                settings.training,
                seed,
                views=settings.views,
                num_last_features=backbone.num_last_features,
            )
            yield _score_head(name, seed, trained, dataset, settings.export.top_k)


def _score_head(recipe: str, seed: int, trained: "TrainedHead", dataset: Dataset, top_k: int | None) -> "Scored":
    import keras

    from tasks.evaluation.comparison import Scored
    from tasks.evaluation.predictions import predict_genres
    from tasks.evaluation.scores import average_precision, measure_calibration
    from tasks.evaluation.task import score_head
    from tasks.outputs.decisions import DecisionRule
    from tasks.training.examples import read_examples
    from tasks.training.ranking import choose_order_of_head

    # Every recipe is scored on the test split; the choice between them is made on the validation split.
    order, _ = choose_order_of_head(dataset, trained, keras.saving.load_model(trained.head_path))
    test = read_examples(dataset, trained.features_folder, "test", trained.num_views)
    predicted = predict_genres(trained, test)
    decisions = predicted.decide(DecisionRule(order, top_k))
    calibration = measure_calibration(test.genre_targets, predicted.calibrated, dataset.genres)
    scores = {
        **score_head(trained, test.genre_targets, decisions, dataset.genres),
        "average_precision": average_precision(test.genre_targets, predicted.calibrated),
        "calibration_error": float(np.mean([genre["calibration_error"] for genre in calibration.values()])),
    }
    return Scored(recipe, seed, scores, test.films["imdb_id"].to_numpy(), test.genre_targets, decisions)


def _write(scored: "list[Scored]", settings: Settings) -> Comparison:
    from tasks.evaluation.comparison import summarise, summarise_differences

    tables = (summarise(scored), summarise_differences(scored))
    table = "\n\n".join(table.to_markdown(index=False) for table in tables)
    rows = json.dumps([each.as_row() for each in scored], indent=2, ensure_ascii=False)
    settings.workspace.write("comparison/comparison.json", f"{rows}\n".encode())
    settings.workspace.write("comparison/comparison.md", f"{table}\n".encode())
    return Comparison(settings.workspace.folder("comparison"), table)
