"""The pipeline on a synthetic sample: offline, small, and real in every stage."""

import json
from pathlib import Path

from prefect import flow

from flows.overrides import NO_OVERRIDES, Overrides
from flows.train import Run, train
from flows.watching import crashed_when_interrupted, report_failure
from flows.workers import check_worker
from tasks.atomic import remove_partials
from tasks.locking import locked
from tasks.sample.server import serve
from tasks.sample.site import make_site, write_catalog
from tasks.settings import (
    CatalogSettings,
    DatasetSettings,
    FeatureSettings,
    PosterSettings,
    RegistrySettings,
    Settings,
    TrainingSettings,
)
from tasks.workspace import Workspace

NUM_FILMS = 1200
_DEFAULTS = Settings()
_PORT_FILE = "server/port.json"


def demo_settings(
    source: str, num_films: int, data_dir: Path, artifacts_dir: Path, features: FeatureSettings
) -> Settings:
    """Returns the settings of a run on a sample of `num_films`, whose catalog is at the address `source`."""
    return Settings(
        data_dir=data_dir,
        artifacts_dir=artifacts_dir,
        catalog=CatalogSettings(source=source),
        posters=PosterSettings(
            posters_per_part=max(10, num_films // 4),  # a few parts, as a real catalog has
            allow_private_hosts=("127.0.0.1",),  # the sample's own server
        ),
        # A twentieth of the films: drops the sample's two rare genres, and keeps the seven others.
        dataset=DatasetSettings(min_posters_per_genre=max(2, num_films // 20)),
        features=features,
        # It recognises the genres of drawn posters as well, in a fraction of the time.
        training=TrainingSettings(recipe="fast"),
        # Its test films are too few to tell a good model from a bad one; the gate is shown all the same.
        registry=RegistrySettings(allow=("films to judge by",)),
    )


@flow(name="demo", on_failure=[report_failure], on_crashed=[report_failure], on_cancellation=[report_failure])
def demo(
    data_dir: Path = Path("data/sample"),
    artifacts_dir: Path = Path("artifacts/sample"),
    num_films: int = NUM_FILMS,
    features: FeatureSettings = _DEFAULTS.features,
    overrides: Overrides = NO_OVERRIDES,
) -> Run:
    """Draws posters, serves them on loopback, and runs `train` on them.

    Args:
        data_dir: Folder of the sample and of all data.
        artifacts_dir: Folder of the models; not that of real models, whose champion a sample must not replace.
        num_films: Number of films in the sample.
        features: Settings of the backbone.
        overrides: Settings that replace single ones of the sample's run.
    """
    check_worker(features)
    site, server_dir = data_dir / "site", data_dir / "server"
    workspace = Workspace(data_dir)
    with locked(server_dir, "another demo"), crashed_when_interrupted():
        remove_partials(data_dir, site.name)
        remove_partials(server_dir)
        make_site(site, num_films)
        # The port of the last run, so that the posters' addresses stay the same and none is downloaded twice.
        port = json.loads(workspace.read(_PORT_FILE) or "0")
        with serve(site, port) as base_url:
            workspace.write(_PORT_FILE, base_url.rpartition(":")[2].encode())
            write_catalog(site, base_url)
            settings = demo_settings(f"{base_url}/MovieGenre.csv", num_films, data_dir, artifacts_dir, features)
            return train(settings, overrides)
