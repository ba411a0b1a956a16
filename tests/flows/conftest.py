"""Small runs of the whole job, which the tests of flows look at from several sides."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from served_app import serve_app
from signed_address import SIGNED, read_server
from webhook import listen

from flows.demo import demo
from flows.train import Run, train
from tasks.sample.server import serve
from tasks.sample.site import make_site, write_catalog
from tasks.settings import (
    CatalogSettings,
    EvaluationSettings,
    ExportSettings,
    FeatureSettings,
    HeadSettings,
    NotifySettings,
    PosterSettings,
    Settings,
    TrainingSettings,
)

NUM_FILMS = 240  # in four parts of the ledger


@dataclass(frozen=True)
class SmallRun:
    """A run on a sample of 240 films, and the folders it worked in."""

    run: Run
    data_dir: Path
    artifacts_dir: Path
    features: FeatureSettings

    @property
    def posters(self) -> list[Path]:
        return sorted((self.data_dir / "site" / "posters").iterdir())

    @property
    def settings(self) -> Settings:
        """Those of the run."""
        return Settings.model_validate_json((self.run.model.settings_path).read_text("utf-8"))

    @property
    def port(self) -> int:
        """Of the server of the posters, whose addresses are in the catalog."""
        return int(json.loads((self.data_dir / "server" / "port.json").read_text("utf-8")))

    def again(self) -> Run:
        """Runs the same once more."""
        return demo(self.data_dir, self.artifacts_dir, NUM_FILMS, self.features)


@pytest.fixture(scope="session")
def small_run(
    tmp_path_factory: pytest.TempPathFactory, prefect_server: None, wheel_settings: FeatureSettings
) -> SmallRun:
    folder = tmp_path_factory.mktemp("run")
    data_dir, artifacts_dir = folder / "data", folder / "artifacts"
    run = demo(data_dir, artifacts_dir, NUM_FILMS, wheel_settings)
    return SmallRun(run, data_dir, artifacts_dir, wheel_settings)


@pytest.fixture(scope="session")
def signatures(small_run: SmallRun) -> Any:
    """Those of the small run's SavedModel, by name."""
    return tf.saved_model.load(str(small_run.run.model.path / "saved_model")).signatures


@dataclass(frozen=True)
class GrownRun:
    """The small run again with three more films, in folders of its own; all outputs, without LiteRT.

    Its catalog is at a signed address.

    Attributes:
        run: What `train` returned.
        folder: Folder with `data`, `artifacts`, the `store` that it published to, and the `site` of the posters.
        notifications: What its webhook got.
        on_server: All that Prefect's server had of it.
    """

    run: Run
    folder: Path
    notifications: list[dict[str, str]]
    on_server: str


@pytest.fixture(scope="session")
def grown_run(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> GrownRun:
    folder = tmp_path_factory.mktemp("grown")
    shutil.copytree(small_run.data_dir, folder / "data")
    shutil.copytree(small_run.artifacts_dir, folder / "artifacts")
    make_site(folder / "site", NUM_FILMS + 3)
    with serve(folder / "site", small_run.port) as base_url, listen() as webhook:
        write_catalog(folder / "site", base_url)
        changes = {
            "data_dir": folder / "data",
            "artifacts_dir": folder / "artifacts",
            "catalog": CatalogSettings(source=f"{base_url}/MovieGenre.csv?{SIGNED}"),
            "features": small_run.settings.features.model_copy(update={"views": 3}),
            "training": TrainingSettings(recipe="fast", epochs=15),
            "heads": HeadSettings(decade=0.2, score=0.05, embedding=1.0, embedding_size=16),
            "evaluation": EvaluationSettings(baselines=(), label_error_folds=None),
            "export": ExportSettings(tflite=False, views=2),
            "registry": small_run.settings.registry.model_copy(update={"publish_to": str(folder / "store")}),
            "notify": NotifySettings(block=webhook.save_block("grown")),
        }
        run = train(small_run.settings.model_copy(update=changes))
    return GrownRun(run, folder, webhook.received, read_server())


@pytest.fixture(scope="session")
def web_address(small_run: SmallRun) -> Iterator[str]:
    """The page of `poster-genres web` for the model of the small run, by its server in this process."""
    from tasks.serving.page import create_page
    from tasks.serving.poster_model import PosterModel

    model = PosterModel(small_run.run.model, small_run.data_dir / "posters")
    app = create_page(model, PosterSettings(allow_private_hosts=("127.0.0.1",), attempts=1))
    with serve_app(app) as host:
        yield f"http://{host}"
