import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.errors import RegistryError
from tasks.registry.signature import is_signature, read_private_key, read_public_key


def test_a_signature_is_that_of_its_content_and_key_alone(keys: tuple[Path, Path], tmp_path: Path) -> None:
    private, public = read_private_key(keys[0]), read_public_key(keys[1])
    signature = private.sign(b"manifest")
    assert len(signature) == 64
    assert is_signature(signature, b"manifest", public)
    assert not is_signature(signature, b"manifesto", public)
    assert not is_signature(b"", b"manifest", public)
    assert not is_signature(signature + b"\0", b"manifest", public)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(signature=st.binary(max_size=80))
def test_other_bytes_are_no_signature(keys: tuple[Path, Path], signature: bytes) -> None:
    assert not is_signature(signature, b"manifest", read_public_key(keys[1]))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
def test_openssl_makes_keys_and_verifies_signatures(tmp_path: Path) -> None:
    private, public, content, signature = (tmp_path / name for name in ("a.pem", "b.pem", "content", "content.sig"))
    for command in (
        ["genpkey", "-algorithm", "ed25519", "-out", private],
        ["pkey", "-in", private, "-pubout", "-out", public],
    ):
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    content.write_bytes(b"manifest")
    signature.write_bytes(read_private_key(private).sign(b"manifest"))
    assert is_signature(signature.read_bytes(), b"manifest", read_public_key(public))
    command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", public, "-in", content]
    done = subprocess.run([*command, "-sigfile", signature], check=True, capture_output=True, text=True)
    assert "Verified Successfully" in done.stdout


def test_files_that_are_no_keys(keys: tuple[Path, Path], tmp_path: Path) -> None:
    other = generate_private_key(SECP256R1())
    (tmp_path / "ec.pem").write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "ec_public.pem").write_bytes(
        other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "locked.pem").write_bytes(
        read_private_key(keys[0]).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    (tmp_path / "text.pem").write_text("key")
    for name in ("ec.pem", "locked.pem", "text.pem"):
        with pytest.raises(RegistryError, match=rf"{name} is not an Ed25519 private key without a passphrase, in PEM"):
            read_private_key(tmp_path / name)
    with pytest.raises(
        RegistryError, match=r"\(it is of another algorithm\): make one by openssl genpkey -algorithm ed"
    ):
        read_private_key(tmp_path / "ec.pem")
    with pytest.raises(
        RegistryError, match=r"\(it is of another algorithm\): make one by openssl pkey -in KEY -pubout$"
    ):
        read_public_key(tmp_path / "ec_public.pem")
    for path in (tmp_path / "ec_public.pem", tmp_path / "text.pem", keys[0]):
        with pytest.raises(RegistryError, match=rf"{path.name} is not an Ed25519 public key") as raised:
            read_public_key(path)
        assert "\n" not in str(raised.value)
    with pytest.raises(RegistryError, match="is not an Ed25519 private key"):
        read_private_key(keys[1])
    with pytest.raises(FileNotFoundError):
        read_public_key(tmp_path / "none.pem")
