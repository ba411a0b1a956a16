"""The stages that are spread, downloads and features, as a flow of their own; and how a worker dies in one."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from prefect import flow

from flows.downloading import download_posters
from flows.extraction import extract_features
from tasks.catalog.task import read_catalog
from tasks.dataset.task import write_dataset
from tasks.features import cache
from tasks.features.backbone import load_backbone
from tasks.progress import ProgressState, reporting_to
from tasks.settings import Settings


@dataclass(frozen=True)
class Made:
    """What the stages made: the data set's fingerprint, and the features by image."""

    fingerprint: str
    features: dict[str, NDArray[np.float16]]

    def check_equal(self, other: "Made") -> None:
        assert self.fingerprint == other.fingerprint
        assert self.features.keys() == other.features.keys()
        for sha256, features in self.features.items():
            np.testing.assert_allclose(features, other.features[sha256], atol=2e-3)


@contextmanager
def kill_in_stage(stage: str, find_busy_workers: Callable[[], list[int]]) -> Iterator[list[int]]:
    """Kills a worker process in the middle of a stage, which is the one that has a task then."""
    has_begun, killed = threading.Event(), list[int]()

    def report(state: ProgressState, /) -> None:
        if state.stage == stage:
            has_begun.set()

    def kill() -> None:
        has_begun.wait(300)
        while not (found := find_busy_workers()):
            time.sleep(0.05)
        os.kill(found[0], signal.SIGKILL)
        killed.append(found[0])

    thread = threading.Thread(target=kill, daemon=True)
    with reporting_to(report):
        thread.start()
        yield killed
        thread.join(60)
    assert killed


@flow(name="stages")
def make_features(settings: Settings) -> Made:
    workspace = settings.workspace
    posters_dir = workspace.folder("posters")
    catalog = read_catalog(settings.catalog, workspace.folder("catalog"), settings.posters.allow_private_hosts)
    download_posters(catalog.read_addresses(), posters_dir, settings.posters, settings.runner)
    dataset = write_dataset(
        catalog_path=catalog.films_path,
        posters_dir=posters_dir,
        splits_dir=workspace.folder("splits"),
        folder=workspace.folder("shards"),
        settings=settings.dataset,
        seed=settings.seed,
        models=[],
    )
    folder = extract_features(dataset, load_backbone(settings.features), settings)
    features = {
        sha256: row
        for path in cache.list_files(folder)
        for hashes, rows in cache.iterate_features(path)
        for sha256, row in zip(hashes, rows, strict=True)
    }
    return Made(dataset.fingerprint, features)
