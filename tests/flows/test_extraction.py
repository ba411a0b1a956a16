"""The features of shards are extracted by workers that have nothing but the store, some of which die."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from deadly_runner import DeadlyRunner
from numpy.typing import NDArray
from sharded_dataset import DATASET_SETTINGS, NUM_FILMS, write, write_catalog_and_posters

from flows.extraction import extract_features
from flows.runners import RunnerError
from flows.storing import FEATURES_PATTERN
from tasks.dataset.description import list_stored_files
from tasks.dataset.task import Dataset
from tasks.errors import RepairedError
from tasks.features.cache import FeatureKey
from tasks.features.extractors import ExtractorKey, keep_extractor
from tasks.features.images import read_image_keys
from tasks.features.views import WHOLE_POSTERS
from tasks.settings import RunnerSettings, Settings
from tasks.storage.folders import StoredFolder

# What is asked of a backbone where another function extracts its features.
BACKBONE: Any = SimpleNamespace(
    fingerprint="0" * 16,
    feature_key=FeatureKey("0" * 16, ()),
    tapped=SimpleNamespace(output=SimpleNamespace(shape=(None, 7))),
)


def extract_ones(images: Sequence[bytes], views: Sequence[int]) -> NDArray[np.float32]:
    return np.ones((len(images), len(views), 7), np.float32)


def describe_extractor(settings: Settings) -> ExtractorKey:
    """Returns what the stage asks for an extractor by."""
    features = settings.features.model_copy(update={"wheel_dir": settings.features.wheel_dir.resolve()})
    return ExtractorKey(BACKBONE.fingerprint, features)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path / "data",
        store=str(tmp_path / "store"),
        dataset=DATASET_SETTINGS,
        runner=RunnerSettings(kind="dask", address="tcp://127.0.0.1:1"),
    )


@pytest.fixture
def dataset(settings: Settings) -> Dataset:
    """A data set that is here and in the store, which has no features yet."""
    write_catalog_and_posters(settings)
    dataset = write(settings)
    StoredFolder(str(settings.data_store), dataset.folder).commit(list_stored_files(dataset.folder))
    StoredFolder(str(settings.data_store), settings.workspace.folder("features"), FEATURES_PATTERN).pull()
    return dataset


def test_shards_that_kill_every_worker_are_named_and_the_next_run_extracts_these_alone(
    prefect_server: None, settings: Settings, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    extracted: list[bytes] = []

    def extract(images: Sequence[bytes], views: Sequence[int]) -> NDArray[np.float32]:
        extracted.extend(images)
        return extract_ones(images, views)

    deadly = frozenset({"movie-posters-train-00000-of-00004", "movie-posters-train-00002-of-00004"})
    first, second = DeadlyRunner(deadly), DeadlyRunner(frozenset())
    with keep_extractor(describe_extractor(settings), extract):
        monkeypatch.setattr("flows.extraction.open_runner", lambda *_: first)
        with pytest.raises(
            RunnerError, match="train-00000-of-00004, movie-posters-train-00002-of-00004 can't be extracted"
        ):
            extract_features(dataset, BACKBONE, settings, WHOLE_POSTERS)
        assert len(first.done) == len(dataset.shard_names) - 2
        num_extracted = len(extracted)

        monkeypatch.setattr("flows.extraction.open_runner", lambda *_: second)
        folder = extract_features(dataset, BACKBONE, settings, WHOLE_POSTERS)
    assert sorted(second.done) == sorted(deadly)
    # Each once, and none on this machine.
    assert 0 < num_extracted < len(extracted) == NUM_FILMS
    assert len(read_image_keys(folder)) == NUM_FILMS
    assert not list(folder.glob("features-*"))


@pytest.mark.parametrize("kind", ["threads", "dask"])
def test_a_damaged_shard_in_the_store_is_written_again(
    prefect_server: None, settings: Settings, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("flows.extraction.open_runner", lambda *_: DeadlyRunner(frozenset()))
    monkeypatch.setattr("tasks.features.extraction.make_feature_extractor", lambda *_: extract_ones)
    if kind == "threads":
        settings = settings.model_copy(update={"runner": RunnerSettings()})
    for path in dataset.folder.glob("*.tfrecord"):
        path.unlink()
    (damaged,) = Path(str(settings.data_store), "shards").glob("*-train-00001-*")
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1])
    with keep_extractor(describe_extractor(settings), extract_ones):
        with pytest.raises(RepairedError, match=r"train-00001-of-00004\.tfrecord .*is damaged"):
            extract_features(dataset, BACKBONE, settings, WHOLE_POSTERS)
        # As when the stages run again.
        assert write(settings) == dataset
        assert StoredFolder(str(settings.data_store), dataset.folder).commit(list_stored_files(dataset.folder))
        assert damaged.read_bytes() == whole
        folder = extract_features(dataset, BACKBONE, settings, WHOLE_POSTERS)
    assert len(read_image_keys(folder)) == NUM_FILMS
