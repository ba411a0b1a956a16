"""One small run of the whole job, which the tests of flows look at from several sides."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from served_app import serve_app

from flows.demo import demo
from flows.train import Run
from tasks.settings import FeatureSettings, PosterSettings, Settings

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
def web_address(small_run: SmallRun) -> Iterator[str]:
    """The page of `poster-genres web` for the model of the small run, by its server in this process."""
    from tasks.serving.page import create_page
    from tasks.serving.poster_model import PosterModel

    model = PosterModel(small_run.run.model, small_run.data_dir / "posters")
    app = create_page(model, PosterSettings(allow_private_hosts=("127.0.0.1",), attempts=1))
    with serve_app(app) as host:
        yield f"http://{host}"
