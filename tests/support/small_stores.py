"""Stores of two small models, and keys to sign them."""

from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tasks import versions
from tasks.model_folder import ModelFolder
from tasks.registry.models import promote

# Alters a file of a store, or removes it (None).
Damage = Callable[[str, bytes | None], None]


def make_store(store: Path) -> Path:
    """Makes a store with the models one and two; the second is the champion."""
    for name in ("one", "two"):
        folder = store / "models" / name
        (folder / "saved_model").mkdir(parents=True)
        (folder / "saved_model" / "saved_model.pb").write_bytes(name.encode() * 100)
        (folder / "labels.json").write_text('["Drama"]')
        ModelFolder(folder).write_manifest({"id": name, "format": versions.MODEL})
    (store / "models" / ".three.1234.partial").mkdir()
    promote(store, "one", "first")
    promote(store, "two", "better")
    return store


def write_keys(folder: Path) -> tuple[Path, Path]:
    """Writes an Ed25519 private key and its public key, in PEM, and returns their paths."""
    folder.mkdir()
    key = Ed25519PrivateKey.generate()
    private, public = folder / "private.pem", folder / "public.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public
