"""The stages that are spread, downloads and features, as a flow of their own."""

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
