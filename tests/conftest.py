"""What tests of several stages share: where real input is, and one small run of everything."""

# isort: off
import flows  # noqa: F401  (sets what Prefect and TensorFlow read when they are imported)
import prefect.main
# isort: on

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import prefect
import pytest
from filelock import FileLock
from numpy.typing import NDArray
from prefect.testing.utilities import prefect_test_harness
from served import environment_with
from xdist.scheduler import LoadFileScheduling

from tasks.features import wheel_weights
from tasks.features.backbone import Backbone, load_backbone
from tasks.features.matrix import FeatureMatrix, FeatureViews
from tasks.recipes import RECIPES
from tasks.settings import FeatureSettings

ROOT = Path(__file__).resolve().parents[1]
REAL_POSTERS = Path(os.environ.get("POSTER_GENRES_REAL_POSTERS", ROOT.parent / "shared" / "real_posters"))
HUB_CACHE = ROOT.parent / "shared" / "tfhub"


# What files of tests ask for that is, or is made of, the small run.
_OF_SMALL_RUN = ("small_run", "grown_run")


class _FilesTogether(LoadFileScheduling):  # type: ignore[misc]
    """Gives a file's tests to one process, and those of all files with the small run: it takes a minute to make."""

    # Not by xdist's groups: pytest 9.2 does not let xdist 3.8 put them into the names of tests.
    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        text = (ROOT / file).read_text("utf-8")
        return "small run" if any(name in text for name in _OF_SMALL_RUN) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    return _FilesTogether(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    no_posters = pytest.mark.skip(reason=f"no real posters at {REAL_POSTERS} (POSTER_GENRES_REAL_POSTERS)")
    no_backbone = pytest.mark.skip(reason="no backbone weights in data/backbone: run `make backbone`")
    no_hub = pytest.mark.skip(reason=f"no TFHUB_CACHE_DIR at {HUB_CACHE}")
    fetched = wheel_weights.is_fetched(ROOT / "data" / "backbone")
    for item in items:
        if item.get_closest_marker("real_posters") and not (REAL_POSTERS / "MovieGenre.csv").exists():
            item.add_marker(no_posters)
        if item.get_closest_marker("backbone") and not fetched:
            item.add_marker(no_backbone)
        if item.get_closest_marker("hub") and not HUB_CACHE.is_dir():
            item.add_marker(no_hub)


@pytest.fixture(scope="session")
def real_posters() -> Path:
    """The folder of the real MovieGenre.csv and posters; mark tests that use it with `real_posters`."""
    return REAL_POSTERS


@pytest.fixture(scope="session")
def hub_cache() -> Path:
    """A TFHUB_CACHE_DIR that has the backbone's module; mark tests that use it with `hub`."""
    return HUB_CACHE


@pytest.fixture(scope="session")
def wheel_settings() -> FeatureSettings:
    """Settings that find the backbone's wheel from any folder, and the features of the recipe `fast`."""
    return FeatureSettings(source="wheel", wheel_dir=ROOT / "data" / "backbone", **RECIPES["fast"]["features"])


@pytest.fixture(scope="session")
def backbone(wheel_settings: FeatureSettings) -> Backbone:
    """The real backbone; mark tests that use it with `backbone`."""
    return load_backbone(wheel_settings)


MakeMatrix = Callable[[NDArray[np.floating]], FeatureViews]


@pytest.fixture(scope="session")
def make_matrix(tmp_path_factory: pytest.TempPathFactory) -> MakeMatrix:
    """Puts features, shape `(num_rows, num_columns)`, on disk as training reads them."""

    def make(features: NDArray[np.floating]) -> FeatureViews:
        path = tmp_path_factory.mktemp("matrix") / "features.npy"
        np.save(path, features.astype(np.float16))
        return FeatureViews([FeatureMatrix(path)])

    return make


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium under Playwright; mark tests that use it with `pages`."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    assert path, "expected Debian's chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        # As root, as in a container, Chromium has no sandbox.
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


MakePrefectHome = Callable[[Path], Path]


@pytest.fixture(scope="session")
def prefect_database() -> Path:
    """The empty database of a Prefect server, made once: a server in a new home takes half of its start for its own."""
    path = ROOT / "build" / "tests" / f"prefect-{prefect.__version__}.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")), tempfile.TemporaryDirectory(dir=path.parent) as home:
        if not path.exists():
            command = [Path(sys.executable).with_name("prefect"), "server", "database", "upgrade", "--yes"]
            subprocess.run(command, env=environment_with(Path(home)), capture_output=True, check=True)
            (Path(home) / "prefect.db").rename(path)
    return path


@pytest.fixture(scope="session")
def make_prefect_home(prefect_database: Path) -> MakePrefectHome:
    """Makes a folder one that Prefect has as PREFECT_HOME, with an empty database, and returns it."""

    def make(folder: Path) -> Path:
        folder.mkdir()
        shutil.copy(prefect_database, folder / "prefect.db")
        return folder

    return make


@pytest.fixture(scope="session")
def prefect_server(prefect_database: Path) -> Iterator[None]:
    """A real Prefect server on loopback with a database of its own."""

    def make_folder() -> str:
        folder = tempfile.mkdtemp()
        shutil.copy(prefect_database, Path(folder) / "prefect-test.db")
        return folder

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("prefect.testing.utilities.mkdtemp", make_folder)
        with prefect_test_harness(server_startup_timeout=120):
            yield


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of a real S3-compatible server on loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket; its address, and the environment that s3fs finds server and credentials in."""
    import boto3
    import s3fs

    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    # What is known of the server holds for one test: some servers have no conditions.
    monkeypatch.setattr("tasks.storage.pointer._is_conditional", weakref.WeakKeyDictionary())
    monkeypatch.setattr("tasks.storage.pointer._warned", weakref.WeakSet())
    client = boto3.client("s3")
    client.create_bucket(Bucket="posters")
    yield "s3://posters/genres"
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="posters"):
        for found in page.get("Contents", []):
            client.delete_object(Bucket="posters", Key=found["Key"])
    client.delete_bucket(Bucket="posters")


@pytest.fixture
def closed_port() -> int:
    """A port of loopback on which nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


# The id of no flow run.
DEAD_RUN = "00000000-0000-4000-8000-000000000000"

HoldLock = Callable[[Path, str], AbstractContextManager[subprocess.Popen[str]]]


@pytest.fixture(scope="session")
def hold_lock() -> HoldLock:
    """Starts another process that holds the lock of a folder until it is told to let go, or the block ends."""

    @contextmanager
    def hold(folder: Path, what: str) -> Iterator[subprocess.Popen[str]]:
        script = (
            "import sys, pathlib, tasks.locking\n"
            f"with tasks.locking.locked(pathlib.Path({str(folder)!r}), {what!r}, about={{'runs': [{DEAD_RUN!r}]}}):\n"
            "    print('locked', flush=True)\n"
            "    sys.stdin.readline()"
        )
        command = [sys.executable, "-c", script]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "locked\n"
            yield process
            process.kill()

    return hold
