"""The secrets of addresses are written nowhere: not in logs, files, artifacts, states or messages."""

import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from signed_address import SECRET, SIGNED, find_secret, read_server

from flows.train import train
from tasks.errors import CatalogError, RegistryError
from tasks.registry.pulling import pull_model
from tasks.registry.stores import Store
from tasks.sample.server import serve
from tasks.settings import CatalogSettings, Settings


def log(message: str, *arguments: object, error: Exception | None = None) -> str:
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    logger = logging.getLogger("a library")
    logger.addHandler(handler)
    try:
        logger.error(message, *arguments, exc_info=error)
    finally:
        logger.removeHandler(handler)
    return output.getvalue()


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        (f"reading https://host/films.csv?{SIGNED}", ()),
        ("reading %s", (f"https://host/films.csv?{SIGNED}",)),
        ("reading %(address)s", ({"address": f"https://user:{SECRET}@host/films.csv"},)),
        ("retrying after %r", (OSError(f"ftp://user:{SECRET}@host/films.csv"),)),
    ],
)
def test_log_lines_of_all_libraries(message: str, arguments: tuple[object, ...]) -> None:
    line = log(message, *arguments)
    assert SECRET not in line
    assert "host/films.csv" in line
    assert "***" in line


def test_tracebacks() -> None:
    try:
        raise OSError(f"no connection to https://host/films.csv?{SIGNED}")
    except OSError as error:
        lines = log("it failed", error=error)
    assert "Traceback" in lines
    assert SECRET not in lines


def test_messages_of_errors() -> None:
    assert str(CatalogError(f"nothing at https://u:{SECRET}@host/?a={SECRET}")) == "nothing at https://***@host/?a=***"


def test_other_lines_stay_as_they_are() -> None:
    assert log("%d of %s (50%%)?", 3, "user@host") == "3 of user@host (50%)?\n"


@pytest.mark.parametrize("field", ["catalog.source", "registry.publish_to"])
def test_user_names_and_passwords_are_refused(field: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flows.cli", "run", "--set", f"{field}=https://user:{SECRET}@host/path"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert f"bad value for {field}" in done.stderr
    assert "give them by the environment" in done.stderr
    assert done.stderr.count("\n") == 1
    assert SECRET not in done.stdout + done.stderr


def test_stores_with_passwords_are_refused(tmp_path: Path) -> None:
    for use in (Store, lambda address: pull_model("champion", address, tmp_path / "to")):
        with pytest.raises(RegistryError, match="by the environment") as raised:
            use(f"https://user:{SECRET}@host/path")
        assert SECRET not in str(raised.value)
    Store(f"file://{tmp_path}")


def test_settings_in_json_and_in_words() -> None:
    address = f"https://host/films.csv?{SIGNED}"
    settings = Settings(catalog=CatalogSettings(source=address))
    assert settings.catalog.source == address
    assert SECRET not in settings.model_dump_json() + str(settings) + repr(settings)
    assert settings.model_dump(mode="json")["catalog"]["source"] == (
        "https://host/films.csv?X-Amz-Credential=***&X-Amz-Signature=***"
    )


@pytest.mark.backbone
def test_a_run_with_a_signed_catalog(grown_run) -> None:
    run = grown_run.run
    assert "X-Amz-Signature=***" in run.model.settings_path.read_text("utf-8")
    assert find_secret(grown_run.folder) == []
    # Of a new champion, or of a refused model: figures of a small sample decide.
    (received,) = grown_run.notifications
    assert run.model.id in received["subject"]
    assert SECRET not in str(received)
    with get_client(sync_client=True) as client:
        parameters = [found.parameters for found in client.read_flow_runs(limit=200)]
    assert any("X-Amz-Signature=***" in str(values) for values in parameters)
    assert SECRET not in grown_run.on_server


def test_a_run_that_fails_at_a_signed_catalog(prefect_server: None, tmp_path: Path) -> None:
    with serve(tmp_path) as base_url:
        source = f"{base_url}/none.csv?{SIGNED}"
        posters = {"allow_private_hosts": ["127.0.0.1"]}
        settings = Settings.model_validate(
            {
                "data_dir": tmp_path / "data",
                "artifacts_dir": tmp_path / "a",
                "catalog": {"source": source},
                "posters": posters,
            }
        )
        with pytest.raises(CatalogError) as raised:
            train(settings)
    assert SECRET not in str(raised.value)
    assert "none.csv" in str(raised.value)
    assert find_secret(tmp_path) == []
    assert SECRET not in read_server()
