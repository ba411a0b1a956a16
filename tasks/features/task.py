"""The features stage: one task for each shard with images that have no features."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.dataset.records import read_images
from tasks.dataset.shards import locate_films
from tasks.dataset.task import Dataset
from tasks.features import cache
from tasks.features.extraction import FeatureExtractor

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExtractionPlan:
    """Images of one shard whose features are to be extracted.

    Attributes:
        shard: Path of the TFRecord file.
        hashes: Hashes of the images.
    """

    shard: Path
    hashes: frozenset[str]


def plan_extraction(dataset: Dataset, folder: Path) -> list[ExtractionPlan]:
    """Returns the shards with images that have no features in `folder`; each image is in one plan only.

    Raises:
        ValueError: If such images exist and the data set was written without shards.
    """
    films = pq.read_table(dataset.films_path, columns=["imdb_id", "sha256", "split"]).to_pandas()
    films = films[~films["sha256"].isin(cache.read_hashes(folder))]
    if films.empty:
        return []
    if not dataset.shard_names:
        raise ValueError(f"{dataset.folder} was written without shards, from which features are extracted")
    films["shard"] = locate_films(films["imdb_id"], films["split"], shard_names=dataset.shard_names)
    # An image that several films show may be in several shards.
    films = films.sort_values("shard", kind="stable").drop_duplicates("sha256")
    return [
        ExtractionPlan(dataset.folder / str(shard), frozenset(shard_films["sha256"]))
        for shard, shard_films in films.groupby("shard")
    ]


@task(
    name="extract features",
    task_run_name="extract features {plan.shard.stem}",
    cache_policy=NO_CACHE,
)
def extract_shard(plan: ExtractionPlan, folder: Path, extractor: FeatureExtractor) -> None:
    """Extracts the features of the planned images of one shard, and writes them to a new file in `folder`.

    Raises:
        DatasetError: If the shard is missing or damaged.
    """
    start = time.monotonic()
    images = read_images(plan.shard, plan.hashes)
    cache.write_features(folder, hashes=list(images), features=extractor(list(images.values())))
    rate = len(images) / (time.monotonic() - start)
    shard = plan.shard.stem
    logger.info("features: %s, %d images extracted, %.0f/s", shard, len(images), rate, extra={"part": shard})
