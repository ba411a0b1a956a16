from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from small_stores import Damage, make_store, write_keys

from tasks.sample.server import serve


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with the models one and two; the second is the champion."""
    return make_store(tmp_path / "store")


@pytest.fixture(scope="session")
def store_for_all(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for tests that change nothing."""
    return make_store(tmp_path_factory.mktemp("registry") / "store")


@pytest.fixture(params=["folder", "http", "s3"])
def remote(request: pytest.FixtureRequest, store: Path) -> Iterator[tuple[str, Damage]]:
    """The address of a store with the models one and two, and a way to alter or remove a file of it."""

    def damage(name: str, content: bytes | None) -> None:
        if content is None:
            (store / name).unlink()
        else:
            (store / name).write_bytes(content)

    if request.param == "folder":
        yield str(store), damage
    elif request.param == "http":
        with serve(store) as base_url:
            yield base_url, damage
    else:
        address = request.getfixturevalue("s3")
        client = boto3.client("s3")
        for path in store.rglob("[!.]*"):
            if path.is_file():
                client.put_object(
                    Bucket="posters", Key=f"genres/{path.relative_to(store).as_posix()}", Body=path.read_bytes()
                )

        def damage_object(name: str, content: bytes | None) -> None:
            if content is None:
                client.delete_object(Bucket="posters", Key=f"genres/{name}")
            else:
                client.put_object(Bucket="posters", Key=f"genres/{name}", Body=content)

        yield address, damage_object


@pytest.fixture(params=["folder", "s3"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store that can be written to."""
    return str(tmp_path / "target") if request.param == "folder" else str(request.getfixturevalue("s3"))


@pytest.fixture
def folder_target(tmp_path: Path) -> str:
    """The same, a folder."""
    return str(tmp_path / "target")


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """An Ed25519 private key and its public key, in PEM."""
    return write_keys(tmp_path / "keys")
