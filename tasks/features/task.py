"""The features stage: one task for each shard with images that have no features."""

import itertools
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.checking import DamagedFileError
from tasks.dataset.description import remove_shard
from tasks.dataset.records import read_images
from tasks.dataset.shards import locate_films
from tasks.dataset.task import Dataset
from tasks.errors import DamagedObjectError, StoreError
from tasks.features.cache import view_folder, write_views
from tasks.features.extraction import FeatureExtractor, extract_decodable
from tasks.features.extractors import ExtractorKey, find_extractor
from tasks.features.images import Images, read_image_keys
from tasks.features.staging import StoredShard, extract_stored_shard
from tasks.features.views import WHOLE_POSTERS, Views
from tasks.storage.folders import StoredFolder, fetch_stored, read_copy
from tasks.storage.units import UnitResult
from tasks.work_report import WorkReport, report_work

logger = logging.getLogger(__name__)

_HASH_BYTES = 32


@dataclass(frozen=True)
class ExtractionPlan:
    """Images of one shard whose features are to be extracted.

    Attributes:
        shard: Path of the TFRecord file.
        packed_hashes: Hashes of the images, 32 bytes each, ascending; see `hashes`.
        views: The views that they lack.
    """

    shard: Path
    packed_hashes: bytes  # a third of the memory of strings: the plans of a first run have those of all images
    views: tuple[int, ...] = (0,)

    @classmethod
    def of(cls, shard: Path, hashes: Iterable[str], views: tuple[int, ...] = (0,)) -> Self:
        """Makes a plan from hashes as they are in the films of a data set, hexadecimal."""
        return cls(shard, bytes.fromhex("".join(sorted(hashes))), views)

    @property
    def hashes(self) -> frozenset[str]:
        """Hashes of the images, hexadecimal."""
        digits, width = self.packed_hashes.hex(), 2 * _HASH_BYTES
        return frozenset(digits[start : start + width] for start in range(0, len(digits), width))

    @property
    def name(self) -> str:
        """Name of the shard in the log."""
        return self.shard.stem

    @property
    def size(self) -> int:
        """Number of images."""
        return len(self.packed_hashes) // _HASH_BYTES


@dataclass(frozen=True)
class Extraction:
    """What became of a plan.

    Attributes:
        undecodable: Hashes of the images that TensorFlow can't decode; the others have features.
        damage: What was wrong with the shard, which can't be used; empty if nothing was.
        result: What the worker sent to the store; None: it worked in the folder of the features.
    """

    undecodable: tuple[str, ...] = ()
    damage: str = ""
    result: UnitResult | None = None


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
    films = pq.read_table(dataset.films_path, columns=["imdb_id", "sha256", "split"])
    images, splits = Images(films["sha256"]), films["split"].combine_chunks().dictionary_encode()
    lacking = _find_lacking(images, splits, folder, num_features, views)
    rows = np.flatnonzero(lacking[images.numbers])
    if not rows.size:
        return []
    if not dataset.shard_names:
        raise ValueError(f"{dataset.folder} was written without shards, from which features are extracted")
    shards = sorted(dataset.shard_names)
    numbers = locate_films(films["imdb_id"].to_numpy()[rows], splits.take(pa.array(rows)), shards)
    # An image that several films show may be in several shards: it is extracted from the first.
    order = np.argsort(numbers, kind="stable")
    _, first = np.unique(images.numbers[rows[order]], return_index=True)
    chosen = order[first]
    rows, numbers = rows[chosen], numbers[chosen]
    lacked = lacking[images.numbers[rows]]
    order = np.lexsort((lacked, numbers))
    hashes = films["sha256"].take(pa.array(rows[order]))
    return _make_plans([dataset.folder / name for name in shards], numbers[order], lacked[order], hashes)


def _make_plans(
    shards: Sequence[Path], numbers: NDArray[np.int64], lacking: NDArray[np.int64], hashes: pa.ChunkedArray
) -> list[ExtractionPlan]:
    """Returns a plan for each shard and each set of views.

    Args:
        shards: Paths of all shards.
        numbers: For each image the number of its shard, ascending.
        lacking: Views that it lacks, as the bits of a number, ascending within a shard.
        hashes: Its hash.
    """
    bounds = np.flatnonzero(np.diff(numbers) | np.diff(lacking)) + 1
    return [
        ExtractionPlan.of(
            shards[numbers[start]],
            hashes.slice(start, stop - start).to_pylist(),
            tuple(view for view in range(int(lacking[start]).bit_length()) if lacking[start] >> view & 1),
        )
        for start, stop in itertools.pairwise([0, *bounds.tolist(), len(numbers)])
    ]


def _find_lacking(
    images: Images, splits: pa.DictionaryArray, folder: Path, num_features: int | None, views: Views
) -> NDArray[np.int64]:
    """Returns the views whose features each image lacks, as the bits of a number, shape `(len(images),)`."""
    num_views = np.zeros(len(images), np.int64)
    for number, split in enumerate(splits.dictionary.to_pylist()):
        shown = images.numbers[splits.indices.to_numpy() == number]
        num_views[shown] = np.maximum(num_views[shown], views.count(split))
    lacking = np.zeros(len(images), np.int64)
    for view in range(views.train):
        has_features = np.zeros(len(images) + 1, bool)
        has_features[images.find(read_image_keys(view_folder(folder, view), num_features))] = True  # the last: unknown
        lacking |= ((view < num_views) & ~has_features[:-1]).astype(np.int64) << view
    return lacking


def describe_stored_shard(plan: ExtractionPlan, features: StoredFolder, folder_name: str) -> StoredShard:
    """Describes the shard of a plan for a worker that reads it from the store.

    Args:
        plan: The images.
        features: This machine's copy of all features.
        folder_name: Name of the folder, in that, that the features belong into.

    Raises:
        StoreError: The store does not have the shard.
    """
    copy = read_copy(plan.shard.parent)
    file = copy.find(plan.shard.name) if copy else None
    if file is None:
        raise StoreError(f"{plan.shard} is not in the store {features.address}: run again, to commit it")
    return StoredShard(
        address=features.address,
        generation=features.generation,
        name=plan.shard.name,
        file=file,
        hashes=plan.hashes,
        views=plan.views,
        folder_name=folder_name,
    )


# One shard takes all cores that its process may use.
@task(
    name="extract features",
    task_run_name="extract features {plan.shard.stem}",
    cache_policy=NO_CACHE,
)
def extract_shard(
    plan: ExtractionPlan, folder: Path, key: ExtractorKey, stored: StoredShard | None = None
) -> WorkReport[Extraction]:
    """Extracts the features of the planned images of one shard with the extractor of this process.

    Args:
        plan: The images.
        folder: Folder of the features.
        key: What decides the extractor.
        stored: The shard in a store, for a worker that may have no such folder; None: it is in its folder.
    """
    if stored:
        return report_work(lambda: _extract_stored(plan, stored, find_extractor(key)))
    return report_work(lambda: extract_planned(plan, folder, find_extractor(key)))


def _extract_stored(plan: ExtractionPlan, stored: StoredShard, extractor: FeatureExtractor) -> Extraction:
    start = time.monotonic()
    try:
        result = extract_stored_shard(stored, extractor)
    except DamagedObjectError as error:
        return Extraction(damage=f"{error.name} in {stored.address} {error.problem}")
    undecodable = tuple(result.value["undecodable"])
    _log_rate(plan, plan.size - len(undecodable), start)
    return Extraction(undecodable=undecodable, result=result)


def extract_planned(plan: ExtractionPlan, folder: Path, extractor: FeatureExtractor) -> Extraction:
    """Extracts the features of the planned images of one shard, and writes them to a new file in `folder`."""
    start = time.monotonic()
    try:
        fetch_stored(plan.shard)
        images = read_images(plan.shard, plan.hashes)
    except (DamagedFileError, DamagedObjectError) as error:
        return Extraction(damage=f"{plan.shard} {error.problem}")
    features, undecodable = extract_decodable(images, plan.views, extractor)
    hashes = [sha256 for sha256 in images if sha256 not in undecodable]
    if hashes:
        write_views(folder, hashes, features, plan.views)
    _log_rate(plan, len(hashes), start)
    return Extraction(undecodable=undecodable)


def discard_damaged(plan: ExtractionPlan, extraction: Extraction) -> Extraction:
    """Removes a shard that was damaged, so that the data set is written with it again, and returns the extraction.

    For the process that runs the stages: several may not change a data set's description at once.
    """
    if extraction.damage:
        logger.warning("%s: it is written again", extraction.damage)
        remove_shard(plan.shard)
    return extraction


def _log_rate(plan: ExtractionPlan, num_images: int, start: float) -> None:
    rate = num_images / (time.monotonic() - start)
    shard, views = plan.shard.stem, f" in {len(plan.views)} views" if len(plan.views) > 1 else ""
    logger.info("features: %s, %d images%s extracted, %.0f/s", shard, num_images, views, rate, extra={"part": shard})
