"""The features stage: one task for each shard with images that have no features."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.checking import DamagedFileError
from tasks.dataset.description import remove_shard
from tasks.dataset.records import read_images
from tasks.dataset.shards import locate_films
from tasks.dataset.splits import SPLITS
from tasks.dataset.task import Dataset
from tasks.features import cache
from tasks.features.extraction import FeatureExtractor, extract_decodable
from tasks.features.extractors import ExtractorKey, find_extractor
from tasks.features.views import WHOLE_POSTERS, Views
from tasks.work_report import WorkReport, report_work

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExtractionPlan:
    """Images of one shard whose features are to be extracted.

    Attributes:
        shard: Path of the TFRecord file.
        hashes: Hashes of the images.
        views: The views that they lack.
    """

    shard: Path
    hashes: frozenset[str]
    views: tuple[int, ...] = (0,)

    @property
    def name(self) -> str:
        """Name of the shard in the log."""
        return self.shard.stem

    @property
    def size(self) -> int:
        """Number of images."""
        return len(self.hashes)


@dataclass(frozen=True)
class Extraction:
    """What became of a plan.

    Attributes:
        undecodable: Hashes of the images that TensorFlow can't decode; the others have features.
        damage: What was wrong with the shard, which was removed; empty if nothing was.
    """

    undecodable: tuple[str, ...] = ()
    damage: str = ""


def plan_extraction(
    dataset: Dataset, folder: Path, num_features: int | None = None, views: Views = WHOLE_POSTERS
) -> list[ExtractionPlan]:
    """Returns the shards with images that lack features in `folder`; each image is in one plan only.

    Files of features that are damaged are removed, with a warning: their images are in a plan again.

    Args:
        dataset: Data set with the images.
        folder: Folder of the features.
        num_features: Number of features of an image, by which damaged files are known, too; None: any.
        views: Number of views that the images of each split have.

    Raises:
        ValueError: If such images exist and the data set was written without shards.
    """
    films = pq.read_table(dataset.films_path, columns=["imdb_id", "sha256", "split"]).to_pandas()
    num_views_by_split = {split: views.count(split) for split in SPLITS}
    num_views = films["split"].map(num_views_by_split).groupby(films["sha256"]).transform("max")
    known = [cache.read_hashes(cache.view_folder(folder, view), num_features) for view in range(views.train)]
    lacks = np.stack([(view < num_views) & ~films["sha256"].isin(hashes) for view, hashes in enumerate(known)], axis=1)
    incomplete = lacks.any(axis=1)
    films, lacks = films[incomplete], lacks[incomplete]
    if films.empty:
        return []
    films = films.assign(views=[tuple(np.flatnonzero(row).tolist()) for row in lacks])
    if not dataset.shard_names:
        raise ValueError(f"{dataset.folder} was written without shards, from which features are extracted")
    films["shard"] = locate_films(films["imdb_id"], films["split"], shard_names=dataset.shard_names)
    # An image that several films show may be in several shards.
    films = films.sort_values("shard", kind="stable").drop_duplicates("sha256")
    return [
        ExtractionPlan(dataset.folder / str(shard), frozenset(found["sha256"]), lacking)
        for (shard, lacking), found in films.groupby(["shard", "views"])
    ]


# One shard takes all cores that its process may use.
@task(
    name="extract features",
    task_run_name="extract features {plan.shard.stem}",
    cache_policy=NO_CACHE,
)
def extract_shard(plan: ExtractionPlan, folder: Path, key: ExtractorKey) -> WorkReport[Extraction]:
    """Extracts the features of the planned images of one shard with the extractor of this process.

    Args:
        plan: The images.
        folder: Folder of the features.
        key: What decides the extractor.
    """
    return report_work(lambda: extract_planned(plan, folder, find_extractor(key)))


def extract_planned(plan: ExtractionPlan, folder: Path, extractor: FeatureExtractor) -> Extraction:
    """Extracts the features of the planned images of one shard, and writes them to a new file in `folder`.

    A damaged shard is removed, with a warning, so that the data set is written with it again.
    """
    start = time.monotonic()
    try:
        images = read_images(plan.shard, plan.hashes)
    except DamagedFileError as error:
        logger.warning("%s: it is written again", error)
        remove_shard(plan.shard)
        return Extraction(damage=str(error))
    features, undecodable = extract_decodable(images, plan.views, extractor)
    hashes = [sha256 for sha256 in images if sha256 not in undecodable]
    if hashes:
        cache.write_views(folder, hashes, features, plan.views)
    rate = len(hashes) / (time.monotonic() - start)
    shard, views = plan.shard.stem, f" in {len(plan.views)} views" if len(plan.views) > 1 else ""
    logger.info("features: %s, %d images%s extracted, %.0f/s", shard, len(hashes), views, rate, extra={"part": shard})
    return Extraction(undecodable=undecodable)
