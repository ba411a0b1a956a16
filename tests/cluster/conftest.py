"""A small sample: what each runner makes of it is compared with what threads make."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from spread_stages import Made, make_features

from tasks.sample.server import serve
from tasks.sample.site import make_site, write_catalog
from tasks.settings import (
    CatalogSettings,
    DatasetSettings,
    FeatureSettings,
    PosterSettings,
    RunnerSettings,
    Settings,
    TrainingSettings,
)

NUM_FILMS = 160

MakeSettings = Callable[[RunnerSettings, Path], Settings]


@pytest.fixture(scope="session")
def make_settings(tmp_path_factory: pytest.TempPathFactory, wheel_settings: FeatureSettings) -> Iterator[MakeSettings]:
    """Returns the settings of a run on the sample in a folder: eight poster parts, and some shards."""
    site = tmp_path_factory.mktemp("sample") / "site"
    make_site(site, NUM_FILMS)
    with serve(site, 0) as base_url:
        write_catalog(site, base_url)

        def make(runner: RunnerSettings, folder: Path) -> Settings:
            return Settings(
                data_dir=folder / "data",
                artifacts_dir=folder / "artifacts",
                catalog=CatalogSettings(source=f"{base_url}/MovieGenre.csv"),
                posters=PosterSettings(posters_per_part=20, allow_private_hosts=("127.0.0.1",)),
                dataset=DatasetSettings(min_posters_per_genre=8, shard_bytes=200_000),
                features=wheel_settings,
                training=TrainingSettings(recipe="fast"),
                runner=runner,
            )

        yield make


@pytest.fixture(scope="session")
def by_threads(tmp_path_factory: pytest.TempPathFactory, prefect_server: None, make_settings: MakeSettings) -> Made:
    return make_features(make_settings(RunnerSettings(), tmp_path_factory.mktemp("threads")))


@pytest.fixture(scope="session")
def by_threads_fingerprint(by_threads: Made) -> str:
    """The fingerprint of the data set that threads make."""
    return by_threads.fingerprint
