"""Every test runs against a folder, a real S3-compatible server or a plain HTTP server, all on loopback."""

from pathlib import Path

import pytest
from small_stores import Damage

from tasks.errors import RegistryError
from tasks.registry.stores import Store


def test_models_are_listed(remote: tuple[str, Damage], target: str) -> None:
    assert Store(remote[0]).list_ids() == ["one", "two"]
    assert Store(f"{target}/empty").list_ids() == []


def test_a_slash_at_the_end_of_an_address_changes_nothing(target: str) -> None:
    Store(f"{target}/X/").write_signature("one", b"signature")
    assert Store(f"{target}/X").read_signature("one") == b"signature"
    assert Store(f"{target}/X/").describe("one") == f"{target}/X/models/one"
    assert Store("http://127.0.0.1/X/").describe("one") == "http://127.0.0.1/X/models/one"


def test_sizes_and_files(remote: tuple[str, Damage], tmp_path: Path) -> None:
    store = Store(remote[0])
    assert store.find_size("one", "saved_model/saved_model.pb") == 300
    store.fetch("one", "saved_model/saved_model.pb", 300, tmp_path / "new" / "file")
    assert (tmp_path / "new" / "file").read_bytes() == b"one" * 100
    for use in (store.find_size, lambda *names: store.fetch(*names, 300, tmp_path / "none")):
        with pytest.raises(RegistryError, match="models/one lacks none.pb, which its manifest names: the model is dam"):
            use("one", "none.pb")


def test_a_store_that_was_changed_by_others_is_read_again(remote: tuple[str, Damage]) -> None:
    address, damage = remote
    assert Store(address).find_size("one", "labels.json") == 9
    assert Store(address).list_ids() == ["one", "two"]
    damage("models/one/labels.json", b"[]")
    assert Store(address).find_size("one", "labels.json") == 2


def test_signatures_lie_beside_the_manifest(target: str) -> None:
    store = Store(target)
    assert store.read_signature("one") is None
    store.write_signature("one", b"signature")
    assert store.read_signature("one") == b"signature"


def test_the_package_of_a_store_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RegistryError, match="hf://someone/genres is not a supported store: .*huggingface_hub"):
        Store("hf://someone/genres")
