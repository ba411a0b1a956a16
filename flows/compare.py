"""Compare recipes over several seeds, on the same films."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow

from flows.downloading import download_posters
from flows.extraction import extract_features
from flows.overrides import NO_OVERRIDES, Overrides
from flows.repairing import repeat_repaired
from flows.train import exclusive_run, train
from flows.watching import report_failure
from tasks.catalog.task import read_catalog
from tasks.dataset.task import write_dataset
from tasks.posters.task import check_success
from tasks.registry.models import rank_models
from tasks.settings import RECIPES, RecipeName, Settings, TrainingSettings


@dataclass(frozen=True)
class Comparison:
    """The result: scores of each recipe and seed in `comparison.json`, the table in `comparison.md`."""

    folder: Path
    table: str


@flow(
    name="compare",
    task_runner=train.task_runner,
    on_failure=[report_failure],
    on_crashed=[report_failure],
    on_cancellation=[report_failure],
)
def compare(
    settings: Settings,
    recipes: tuple[RecipeName, ...] = ("default", "seed", "seed_bce"),
    num_seeds: int = 3,
    overrides: Overrides = NO_OVERRIDES,
) -> Comparison:
    """Trains recipes with several seeds, each seed with a split of its own that all recipes share.

    Posters, features and trained heads that exist are reused. Nothing is published.

    Args:
        settings: Settings of all stages up to training. Their own recipe is compared, too, if it is altered; their
            seed is the first.
        recipes: Names of the recipes.
        num_seeds: Number of splits and trainings.
        overrides: Settings that replace single ones of `settings`.
    """
    settings = overrides.apply(settings)
    with exclusive_run(settings):
        return _write(repeat_repaired(lambda: _run(settings, recipes, num_seeds)), settings)


def _run(settings: Settings, recipes: tuple[RecipeName, ...], num_seeds: int) -> list[dict[str, Any]]:
    catalog = read_catalog(settings.catalog, settings.workspace.folder("catalog"), settings.posters.allow_private_hosts)
    counts = download_posters(catalog.read_addresses(), settings.workspace.folder("posters"), settings.posters)
    check_success(counts, settings.posters.min_success_rate)
    return _score_all(catalog.films_path, settings, recipes, num_seeds)


def _score_all(
    films_path: Path, settings: Settings, recipes: tuple[RecipeName, ...], num_seeds: int
) -> list[dict[str, Any]]:
    # Imported late: TensorFlow takes seconds, and the error for a wrong catalog should not wait for it.
    from tasks.evaluation.predictions import predict_genres
    from tasks.evaluation.task import score_head
    from tasks.features.backbone import load_backbone
    from tasks.features.joining import join_features
    from tasks.features.views import Views
    from tasks.outputs.decisions import DecisionRule
    from tasks.training.examples import read_examples
    from tasks.training.task import train_head

    candidates = [TrainingSettings(recipe=name) for name in dict.fromkeys(recipes)]
    if settings.training.name not in RECIPES:
        candidates.insert(0, settings.training)
    workspace = settings.workspace
    backbone = load_backbone(settings.features)
    # The shards are those of a run. Each comparison splits their films anew, whatever the champion was trained on.
    write = partial(
        write_dataset,
        catalog_path=films_path,
        posters_dir=workspace.folder("posters"),
        settings=settings.dataset,
    )
    sharded = write(
        splits_dir=workspace.folder("splits"),
        folder=workspace.folder("shards"),
        seed=settings.seed,
        models=rank_models(settings.artifacts_dir),
    )
    # The films of training with one seed are those of testing with another.
    num_views = settings.views.train
    features = extract_features(sharded, backbone, settings, Views(num_views, num_views))
    scored = []
    for seed in range(settings.seed, settings.seed + num_seeds):
        folder = workspace.folder("comparison") / f"seed-{seed}"
        dataset = write(splits_dir=None, folder=folder, seed=seed, with_shards=False, among=sharded)
        join_features(dataset, features, settings.views)
        # Every recipe is scored on the test split; the choice between them is made on the validation split.
        for candidate in candidates:
            trained = train_head(dataset, features, workspace.folder("training"), candidate, seed, views=settings.views)
            test = read_examples(dataset, trained.features_folder, "test", trained.num_views)
            # The order decides little: which genre a film gets that has none over 0.5.
            decisions = predict_genres(trained, test).decide(DecisionRule("calibrated", settings.export.top_k))
            scores = score_head(trained, test.genre_targets, decisions, dataset.genres)
            scored.append({"recipe": candidate.name, "seed": seed, **scores})
    return scored


def _write(scored: list[dict[str, Any]], settings: Settings) -> Comparison:
    from tasks.evaluation.comparison import summarise

    table = summarise(scored).to_markdown(index=False)
    rows = json.dumps(scored, indent=2, ensure_ascii=False)
    settings.workspace.write("comparison/comparison.json", f"{rows}\n".encode())
    settings.workspace.write("comparison/comparison.md", f"{table}\n".encode())
    return Comparison(settings.workspace.folder("comparison"), table)
