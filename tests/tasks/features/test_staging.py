"""Features of a shard are extracted with nothing but a store, as on another machine."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from broken_pictures import draw_png_without_its_last_rows
from numpy.typing import NDArray

from tasks.dataset.records import write_records
from tasks.errors import DamagedObjectError
from tasks.features import cache
from tasks.features.staging import StoredShard, extract_stored_shard
from tasks.hashing import describe_file
from tasks.sample.drawing import draw_poster
from tasks.storage.folders import StoredFile, StoredFolder, fetch_files, send_files
from tasks.storage.objects import ObjectStore

POSTERS = [draw_poster("A (1999)", ["Drama"], np.random.default_rng(seed)) for seed in range(3)]
BROKEN = draw_png_without_its_last_rows()
SHARD = "movie-posters-train-00000-of-00001.tfrecord"


def name_image(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Extractor:
    """Features by hand: the first bytes of the hash, and the view; counts how often it is called."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, images: Sequence[bytes], views: Sequence[int]) -> NDArray[np.float32]:
        self.calls += 1
        if BROKEN in images:
            raise tf.errors.InvalidArgumentError(None, None, "can't be decoded")
        return np.array([[self.describe(image, view) for view in views] for image in images], np.float32)

    @staticmethod
    def describe(image: bytes, view: int) -> list[float]:
        return [hashlib.sha256(image).digest()[0] % 6, view]


@pytest.fixture(params=["folder", "s3"])
def shard(request: pytest.FixtureRequest, tmp_path: Path) -> StoredShard:
    address = str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("s3")
    folder = tmp_path / "driver" / "shards"
    folder.mkdir(parents=True)
    text = {"title": "T", "year": 1999, "score": 6.0, "format": "jpeg", "genres": [], "targets": [], "shard": SHARD}
    films = [
        {**text, "imdb_id": number, "sha256": name_image(content), "content": content}
        for number, content in enumerate([*POSTERS, BROKEN])
    ]
    write_records(folder, films, [SHARD])
    file = StoredFile(**describe_file(folder / SHARD))
    send_files(ObjectStore(address), folder, {SHARD: file})
    return StoredShard(
        address=address,
        generation=0,
        name=SHARD,
        file=file,
        hashes=frozenset(name_image(content) for content in [*POSTERS[1:], BROKEN]),
        views=(0, 1),
        folder_name="mobilenet",
    )


def test_features_get_into_the_store(shard: StoredShard, tmp_path: Path) -> None:
    result = extract_stored_shard(StoredShard.model_validate_json(shard.model_dump_json()), Extractor())
    assert result.value == {"undecodable": [name_image(BROKEN)]}
    driver = StoredFolder(shard.address, tmp_path / "driver" / "features", "**/*.parquet")
    driver.adopt(result.files)
    fetch_files(driver.store, driver.folder, result.files)
    folder = driver.folder / "mobilenet"
    for view in (0, 1):
        (path,) = cache.list_files(cache.view_folder(folder, view))
        ((hashes, features),) = cache.iterate_features(path)
        assert hashes == [name_image(content) for content in POSTERS[1:]]
        assert features.tolist() == [Extractor.describe(content, view) for content in POSTERS[1:]]
    assert driver.commit(dict.fromkeys(driver.list_files()))
    assert driver.generation == 1


def test_a_shard_that_was_done_is_not_done_again(shard: StoredShard) -> None:
    extractor = Extractor()
    first = extract_stored_shard(shard, extractor)
    calls = extractor.calls
    assert extract_stored_shard(shard, extractor) == first
    assert extractor.calls == calls
    for change in ({"views": (0,)}, {"folder_name": "other"}, {"generation": 1}, {"hashes": frozenset(shard.hashes)}):
        extract_stored_shard(shard.model_copy(update=change), extractor)
    assert extractor.calls == calls + 3 * calls


def test_a_shard_that_is_damaged_or_missing_is_an_error(shard: StoredShard) -> None:
    store = ObjectStore(shard.address)
    (name,) = store.list_names("shards")
    content = store.read(f"shards/{name}") or b""
    store.write(f"shards/{name}", content[:-1] + b"x")
    with pytest.raises(DamagedObjectError, match="is damaged .its sha256 is another .*: expected what was committed"):
        extract_stored_shard(shard, Extractor())
    store.remove(f"shards/{name}")
    with pytest.raises(DamagedObjectError, match="is missing: expected what was committed"):
        extract_stored_shard(shard, Extractor())
