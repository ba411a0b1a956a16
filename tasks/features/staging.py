"""Extract the features of a shard on a machine that has none of its files: they are in a store, both of them."""

import logging
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tasks.checking import DamagedFileError
from tasks.dataset.records import read_images
from tasks.errors import StoreError
from tasks.features import cache
from tasks.features.extraction import FeatureExtractor, extract_decodable
from tasks.hashing import describe_file
from tasks.storage.folders import StoredFile, fetch_files, send_files, staged_folder
from tasks.storage.objects import ObjectStore
from tasks.storage.units import UnitResult, run_once

logger = logging.getLogger(__name__)


class StoredShard(BaseModel):
    """What a worker has to know of a shard; plain data.

    Attributes:
        address: Address of the store.
        generation: Generation of the manifest of the features.
        name: Name of the shard.
        file: The shard in the store.
        hashes: Hashes of the images whose features are extracted.
        views: Numbers of the views.
        folder_name: Name of the folder of the features.
    """

    model_config = ConfigDict(frozen=True)

    address: str
    generation: int
    name: str
    file: StoredFile
    hashes: frozenset[str]
    views: tuple[int, ...]
    folder_name: str


def extract_stored_shard(shard: StoredShard, extractor: FeatureExtractor) -> UnitResult:
    """Extracts the features of images of a shard, and sends them to the store.

    Args:
        shard: The shard.
        extractor: Extractor of the features that belong into the folder.

    Returns:
        The files of the features, and `undecodable`, the hashes of the images that TensorFlow can't decode. If it was
        done before, the result of then.

    Raises:
        DamagedObjectError: The shard is missing, or damaged.
        StoreError: The store can't be read or written, or the shard lacks images.
    """
    store = ObjectStore(shard.address)

    def work() -> UnitResult:
        with staged_folder(shard.address, "shards", {}) as staged:
            fetch_files(store, staged.folder, {shard.name: shard.file})
            try:
                images = read_images(staged.folder / shard.name, shard.hashes)
            except DamagedFileError as error:  # not of the copy: that has the hash of the manifest
                raise StoreError(
                    f"{shard.name} in {shard.address} {error.problem}: remove data_dir/shards/{shard.name} from the "
                    "data set with poster-genres doctor --data, and run again"
                ) from error
            features, undecodable = extract_decodable(images, shard.views, extractor)
            hashes = [sha256 for sha256 in images if sha256 not in undecodable]
            folder = staged.folder.with_name("features")
            if hashes:
                cache.write_views(folder / shard.folder_name, hashes, features, shard.views)
            files = _describe_files(folder)
            send_files(store, folder, files)
        return UnitResult(files=files, value={"undecodable": sorted(undecodable)})

    job = shard.model_dump(mode="json", exclude={"address", "hashes"})
    return run_once(store, "features", {**job, "hashes": sorted(shard.hashes)}, work)


def _describe_files(folder: Path) -> dict[str, StoredFile]:
    paths = sorted(folder.rglob("*.parquet"))
    return {path.relative_to(folder).as_posix(): StoredFile(**describe_file(path)) for path in paths}
