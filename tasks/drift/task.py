"""The task of the drift stage."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.dataset.task import Dataset
from tasks.drift.collection import Collected, Names, collect
from tasks.drift.comparison import Comparison
from tasks.drift.counts import count_hosts
from tasks.drift.failures import Hosts
from tasks.drift.predictions import predict_by_champion, predict_test_films
from tasks.drift.reference import Reference, read_reference
from tasks.drift.samples import Samples, number_rows, pair_samples, read_features, sample_index
from tasks.drift.statistics import Predictions, Statistics
from tasks.errors import RegistryError, one_line
from tasks.inert import for_terminal
from tasks.model_folder import ModelFolder
from tasks.posters import ledger, segments
from tasks.settings import DriftSettings
from tasks.training.task import TrainedHead

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Drift:
    """The data of a model, and their comparison with the champion's.

    Attributes:
        statistics: Statistics of the model, for later runs.
        comparison: `against`, the id of the champion, None if there is none; and `warnings`, `not_compared` and
            `figures`, as `tasks.drift.comparison.Comparison.as_dict` returns them.
    """

    statistics: Statistics
    comparison: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """Hash of both, hexadecimal."""
        content = self.statistics.model_dump_json() + json.dumps(self.comparison)
        return hashlib.sha256(content.encode()).hexdigest()

    def write_statistics(self, model: ModelFolder) -> None:
        """Writes `statistics.json` for `tasks.drift.reference.read_reference`."""
        model.statistics_path.write_text(self.statistics.model_dump_json() + "\n", "utf-8")


@task(name="measure drift", cache_policy=NO_CACHE)
def measure_drift(
    dataset: Dataset,
    catalog_path: Path,
    posters_dir: Path,
    trained: TrainedHead,
    champion: ModelFolder | None,
    settings: DriftSettings,
) -> Drift:
    """Compares films, posters and predictions with those of the champion; logs a warning for each change over bounds.

    Args:
        dataset: The films, joined with their features.
        catalog_path: Path of the catalog's `films.parquet`.
        posters_dir: Folder of the poster parts.
        trained: Head of the new model.
        champion: The champion; None if there is none.
        settings: Bounds.
    """
    present = _collect(dataset, catalog_path, posters_dir, trained)
    if champion is None:
        nothing: dict[str, Any] = {"against": None, "warnings": [], "not_compared": [], "figures": []}
        return Drift(present.statistics, nothing)
    reference = read_reference(champion)
    compared: dict[str, Any] = {"warnings": [], "not_compared": [], "figures": []}
    if reference.statistics is not None:
        comparison = Comparison(reference.statistics, present.statistics, settings)
        comparison.compare(
            _pair_samples(reference.statistics, present, champion, dataset, trained.features_folder),
            _count_new_films(present.results, reference),
            _predict_by_champion(reference.statistics, champion, dataset, trained.features_folder),
        )
        compared = comparison.as_dict()
    compared["not_compared"] = [*reference.missing, *compared["not_compared"]]
    drift = Drift(present.statistics, {"against": champion.id, **compared})
    _log(drift.comparison)
    return drift


def _pair_samples(
    before: Statistics, present: Collected, champion: ModelFolder, dataset: Dataset, features_folder: Path
) -> Samples | None:
    if before.embeddings is None:
        return _use(champion, lambda: sample_index(champion, dataset, features_folder, present.films))
    return pair_samples(before.embeddings, present.statistics.embeddings)


def _predict_by_champion(
    before: Statistics, champion: ModelFolder, dataset: Dataset, features_folder: Path
) -> Predictions | None:
    if before.predictions is None:  # of an earlier version: nothing to compare with, and its head may be another kind
        return None
    return _use(champion, lambda: predict_by_champion(champion, dataset, features_folder))


def _use(champion: ModelFolder, function: Callable[[], T | None]) -> T | None:
    """Returns the result of a function that uses the champion's files; None if they can't be used.

    They may be of any version, and a comparison stops no run.
    """
    try:
        return function()
    except (OSError, ValueError, KeyError, RegistryError) as error:
        logger.warning("drift: %s can't be compared in full: %s", champion.id, one_line(error)[:200])
        return None


def _log(comparison: Mapping[str, Any]) -> None:
    against, warnings = comparison["against"], comparison["warnings"]
    for line in warnings:
        logger.warning("drift against %s: %s", against, for_terminal(line))
    for line in comparison["not_compared"]:
        logger.info("drift against %s: not compared: %s", against, for_terminal(line))
    logger.info("drift against %s: %d figures, %d warnings", against, len(comparison["figures"]), len(warnings))


def _count_new_films(results: pd.DataFrame, reference: Reference) -> Hosts | None:
    if reference.known_ids is None:
        return None
    return count_hosts(results[~results["imdb_id"].isin(reference.known_ids)])


def _collect(dataset: Dataset, catalog_path: Path, posters_dir: Path, trained: TrainedHead) -> Collected:
    return collect(
        catalog=pq.read_table(catalog_path, columns=["imdb_id", "genres", "poster_url"]),
        ledger_rows=ledger.find_current(ledger.read_rows(segments.list_parts(posters_dir))),
        films=number_rows(pq.read_table(dataset.films_path, columns=["imdb_id", "year", "split"])),
        read_features=lambda films: read_features(dataset, trained.features_folder, films),
        predictions=predict_test_films(dataset, trained),
        names=Names(dataset.fingerprint, trained.features_folder.name),
    )
