"""What compose.yaml describes, run without containers: its commands, with its environment, on loopback.

The database is a PostgreSQL of this machine, if there is one; the store is SeaweedFS of the image's version. Files are
checked by the tools of Docker's makers and users.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from container_files import ROOT, read_compose
from served import find_free_port
from small_stores import make_store

pytestmark = pytest.mark.containers

TOOLS = Path(os.environ.get("POSTER_GENRES_CONTAINER_TOOLS", ROOT / ".containers-venv" / "bin"))
BIN = Path(sys.executable).parent
SERVICES = read_compose()["services"]
SECRETS = {"POSTGRES_PASSWORD": "secret", "AWS_ACCESS_KEY_ID": "genres", "AWS_SECRET_ACCESS_KEY": "secretsecret"}
DATABASE_NAME = re.search(r"--username=(\w+)", " ".join(SERVICES["database"]["healthcheck"]["test"]))[1]  # type: ignore[index]


class Addresses:
    """Where the services are: a free port of loopback for each name and port of compose.yaml."""

    def __init__(self) -> None:
        services = ("database:5432", "server:4200", "0.0.0.0:4200", "127.0.0.1:4200", "store:8333", "127.0.0.1:8080")
        ports = {number: find_free_port() for number in ("5432", "4200", "8333", "8080")}
        self.ports = ports
        self._replaced = {name: f"127.0.0.1:{ports[name.partition(':')[2]]}" for name in services}

    def replace(self, text: str) -> str:
        """Returns a value of compose.yaml with addresses of loopback, and its variables filled in."""
        for name, address in self._replaced.items():
            text = text.replace(name, address)
        return re.sub(r"\$\{(\w+)(:\?[^}]*)?\}", lambda found: SECRETS[found[1]], text)


@contextmanager
def running(command: list[str], log: Path, **arguments: Any) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, **arguments) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:  # SeaweedFS takes half a minute
                process.kill()


def wait(is_ready: Callable[[], bool], log: Path, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not is_ready():
        assert time.monotonic() < deadline, log.read_text("utf-8", errors="replace")[-3000:]
        time.sleep(0.5)


def answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=5).ok
    except requests.RequestException:
        return False


def make_environment(service: str, addresses: Addresses, home: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "AWS"))}
    given = {name: addresses.replace(value) for name, value in SERVICES[service].get("environment", {}).items()}
    path = {"PATH": f"{BIN}:{os.environ['PATH']}", "PREFECT_HOME": str(home), "DO_NOT_TRACK": "1"}
    return inherited | path | given


def start_service(name: str, addresses: Addresses, project: Path) -> Any:
    """Runs a service's command in the project's folder."""
    command = [BIN / SERVICES[name]["command"][0], *SERVICES[name]["command"][1:]]
    command = [str(addresses.ports["4200"]) if word == "4200" else str(word) for word in command]
    command = ["127.0.0.1" if word == "0.0.0.0" else word for word in command]
    environment = make_environment(name, addresses, project.parent / "home")
    environment |= {"PREFECT_WORKER_WEBSERVER_PORT": str(addresses.ports["8080"])}
    return running(command, project.parent / f"{name}.log", cwd=project, env=environment)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The store of compose.yaml; the variables with which the worker reaches it."""
    addresses = Addresses()
    ports = dict.fromkeys(("-master.port", "-volume.port", "-filer.port"), 0)
    ports |= dict.fromkeys(("-master.port.grpc", "-volume.port.grpc", "-filer.port.grpc", "-s3.port.grpc"), 0)
    given = [word.replace("/data", str(tmp_path / "data")) for word in SERVICES["store"]["command"]]
    given = [word.replace("0.0.0.0", "127.0.0.1") for word in given]
    given += [f"{name}={find_free_port()}" for name in ports] + [f"-s3.port={addresses.ports['8333']}"]
    (tmp_path / "data").mkdir()
    environment = make_environment("store", addresses, tmp_path)
    log = tmp_path / "store.log"
    with running([str(TOOLS / "weed"), *given], log, env=environment, cwd=tmp_path):
        health = SERVICES["store"]["healthcheck"]["test"][-1]
        wait(lambda: answers(health.replace("8333", str(addresses.ports["8333"]))), log)
        yield make_environment("worker", addresses, tmp_path)


@pytest.mark.parametrize("file", ["Dockerfile", "serving/Dockerfile"])
def test_hadolint_finds_nothing(file: str) -> None:
    done = subprocess.run([TOOLS / "hadolint", ROOT / file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_compose_file_is_valid() -> None:
    schema = [TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", ROOT / "compose.yaml"]
    subprocess.run(schema, check=True, stdout=subprocess.DEVNULL)
    command = [TOOLS / "docker-compose", "--profile", "serving", "config"]
    done = subprocess.run(
        [*command, "--services"], cwd=ROOT, env={**os.environ, **SECRETS}, capture_output=True, text=True
    )
    assert sorted(done.stdout.split()) == sorted(SERVICES)
    done = subprocess.run([*command, "--quiet"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode
    assert "copy compose.env to .env and fill it in" in done.stderr


def test_store_takes_models_and_refuses_other_keys(store: dict[str, str], tmp_path: Path) -> None:
    def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flows.cli", *arguments]
        environment = store | {"PYTHONPATH": str(ROOT)} | environment
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    make_store(tmp_path / "artifacts")
    assert "no models in s3://genres yet" in call("models", "--store", "s3://genres").stdout
    pushed = call("push", "--to", "s3://genres")
    assert (pushed.stdout, pushed.stderr) == (
        "pushed the champion to s3://genres\n",
        "",
    )  # no warning: it has conditions
    assert "has the champion already" in call("push", "--to", "s3://genres").stdout
    pulled = call("pull", "--serving", "serving/genres", "--from", "s3://genres")
    assert pulled.stdout.startswith("pulled two to serving/genres/1")
    assert (tmp_path / "serving" / "genres" / "1" / "saved_model.pb").exists()
    refused = call("models", "--store", "s3://genres", AWS_SECRET_ACCESS_KEY="another")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "Forbidden" in refused.stderr


@contextmanager
def running_database(addresses: Addresses, folder: Path) -> Iterator[None]:
    """A PostgreSQL with the user, the password and the name of compose.yaml; it refuses to run as root."""
    account = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    folder.mkdir()
    (folder / "password").write_text(SECRETS["POSTGRES_PASSWORD"])
    if account:
        for path in (folder, folder / "password"):
            os.chown(path, 65534, 65534)
    options = [f"--username={DATABASE_NAME}", "--auth=scram-sha-256", f"--pwfile={folder}/password", "--no-sync"]
    subprocess.run(
        [*account, "initdb", f"--pgdata={folder}/data", *options], cwd=folder, check=True, stdout=subprocess.DEVNULL
    )
    port = str(addresses.ports["5432"])
    command = [*account, "postgres", "-D", f"{folder}/data", "-p", port, "-h", "127.0.0.1", "-k", str(folder)]
    log = folder.parent / "database.log"
    with running(command, log, cwd=folder):
        environment = {**os.environ, "PGPASSWORD": SECRETS["POSTGRES_PASSWORD"]}
        create = ["createdb", "-h", "127.0.0.1", "-p", port, "-U", DATABASE_NAME, DATABASE_NAME]
        wait(
            lambda: subprocess.run(create, env=environment, stderr=subprocess.DEVNULL, check=False).returncode == 0,
            log,
            30,
        )
        yield


@pytest.mark.skipif(not shutil.which("initdb"), reason="no PostgreSQL on the PATH (initdb, postgres)")
def test_server_deployments_and_worker_run_a_deployment() -> None:
    # Not pytest's folder, which others than root can't enter.
    with tempfile.TemporaryDirectory() as name:
        folder, addresses = Path(name), Addresses()
        folder.chmod(0o755)
        project = folder / "project"
        init = [sys.executable, "-m", "flows.cli", "init", str(project)]
        subprocess.run(init, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        with running_database(addresses, folder / "postgres"), start_service("server", addresses, project):
            wait(lambda: answers(addresses.replace("http://127.0.0.1:4200/api/health")), folder / "server.log")
            environment = make_environment("deployments", addresses, folder / "home")
            for _ in range(2):  # as after a change of settings.yaml
                subprocess.run(
                    SERVICES["deployments"]["command"], cwd=project, env=environment, check=True, timeout=240
                )
            with start_service("worker", addresses, project):
                wait(lambda: answers(addresses.replace("http://127.0.0.1:8080/health")), folder / "worker.log")
                run = ["prefect", "deployment", "run", "demo/demo", "--watch", "-p", "num_films=1"]
                done = subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True, check=False)
                # Of a single film no model can be made; that the flow says so means that it ran.
                assert "genres have" in (folder / "worker.log").read_text("utf-8"), done.stdout + done.stderr
            found = requests.post(
                addresses.replace("http://127.0.0.1:4200/api/deployments/filter"), json={}, timeout=30
            )
            assert {deployment["name"] for deployment in found.json()} == {"weekly", "demo", "label"}
