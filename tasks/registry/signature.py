"""Signatures of manifests: a manifest has the hash of every file, so that its signature is that of the whole model.

A signature is the 64 bytes of Ed25519 (RFC 8032), as `openssl pkeyutl -sign -rawin` writes them.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.errors import RegistryError, one_line

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


def read_private_key(path: Path) -> "Ed25519PrivateKey":
    """Reads the key that signs.

    Raises:
        RegistryError: if the file is not an Ed25519 private key in PEM, without a passphrase.
        OSError: if it can't be read.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: it has a passphrase
        raise RegistryError(_describe_wrong_key(path, "private", one_line(error))) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise RegistryError(_describe_wrong_key(path, "private", "it is of another algorithm"))
    return key


def read_public_key(path: Path) -> "Ed25519PublicKey":
    """Reads the key that verifies.

    Raises:
        RegistryError: if the file is not an Ed25519 public key in PEM.
        OSError: if it can't be read.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RegistryError(_describe_wrong_key(path, "public", one_line(error))) from error
    if not isinstance(key, Ed25519PublicKey):
        raise RegistryError(_describe_wrong_key(path, "public", "it is of another algorithm"))
    return key


def is_signature(signature: bytes, content: bytes, key: "Ed25519PublicKey") -> bool:
    """Returns whether the owner of a key signed this content."""
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _describe_wrong_key(path: Path, kind: str, problem: str) -> str:
    make = "openssl genpkey -algorithm ed25519" if kind == "private" else "openssl pkey -in KEY -pubout"
    return f"{path} is not an Ed25519 {kind} key without a passphrase, in PEM ({problem}): make one by {make}"
