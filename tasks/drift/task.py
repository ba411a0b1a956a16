"""The task of the drift stage."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import pandas as pd
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.dataset.task import Dataset
from tasks.drift.collection import Collected, Names, collect, describe_predictions
from tasks.drift.comparison import Comparison
from tasks.drift.counts import count_hosts
from tasks.drift.failures import Hosts
from tasks.drift.reference import Reference, read_reference
from tasks.drift.samples import Samples, number_rows, pair_samples, read_features, sample_index
from tasks.drift.statistics import Statistics
from tasks.errors import RegistryError, one_line
from tasks.inert import for_terminal
from tasks.model_folder import ModelFolder
from tasks.outputs.genres import GenresOutput
from tasks.posters import ledger, segments
from tasks.settings import DriftSettings
from tasks.training.examples import read_examples
from tasks.training.head import predict
from tasks.training.task import TrainedHead

logger = logging.getLogger(__name__)


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
        samples = pair_samples(reference.statistics.embeddings, present.statistics.embeddings)
        if reference.statistics.embeddings is None:
            samples = _sample_index(champion, dataset, trained, present.films)
        comparison.compare(samples, _count_new_films(present.results, reference))
        compared = comparison.as_dict()
    compared["not_compared"] = [*reference.missing, *compared["not_compared"]]
    drift = Drift(present.statistics, {"against": champion.id, **compared})
    _log(drift.comparison)
    return drift


def _sample_index(champion: ModelFolder, dataset: Dataset, trained: TrainedHead, films: pd.DataFrame) -> Samples | None:
    try:
        return sample_index(champion, dataset, trained.features_folder, films)
    except (OSError, ValueError, KeyError, RegistryError) as error:
        # It may be of any version, and a comparison stops no run.
        logger.info("drift: %s's index and head can't be used: %s", champion.id, one_line(error)[:200])
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
    test = read_examples(dataset, trained.features_folder, "test")
    confidences = predict(keras.saving.load_model(trained.head_path), test.features)[GenresOutput.name]
    return collect(
        catalog=pq.read_table(catalog_path, columns=["imdb_id", "genres", "poster_url"]),
        ledger_rows=ledger.find_current(ledger.read_rows(segments.list_parts(posters_dir))),
        films=number_rows(pq.read_table(dataset.films_path, columns=["imdb_id", "year", "split"])),
        read_features=lambda films: read_features(dataset, trained.features_folder, films),
        predictions=describe_predictions(
            confidences, dataset.genres, {"outputs": trained.output_names, **trained.settings.model_dump(mode="json")}
        ),
        names=Names(dataset.fingerprint, trained.features_folder.name),
    )
