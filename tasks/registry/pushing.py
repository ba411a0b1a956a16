"""Pushing: a store gets the champion of this machine, if the model was judged against the store's own champion."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import RefusedError, RegistryError
from tasks.model_folder import MANIFEST, ModelFolder, parse_manifest
from tasks.registry.champion_file import list_history, parse_champion, render_champion, roll_back
from tasks.registry.models import CHAMPION, CHAMPION_FILE, find_model
from tasks.registry.signature import is_signature, read_private_key
from tasks.registry.stored_model import find_stored_model
from tasks.registry.stores import Store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

logger = logging.getLogger(__name__)


def push_champion(artifacts_dir: Path, address: str, *, unjudged: bool = False, sign_with: Path | None = None) -> bool:
    """Makes the champion of `artifacts_dir` that of a store: first the model is copied, then `champion.json` changed.

    Args:
        artifacts_dir: Folder of the registry.
        address: Address of the store.
        unjudged: Whether the store's champion is replaced though this model was not judged against it.
        sign_with: Ed25519 private key in PEM that the manifest is signed with; None: it is not signed.

    Returns:
        False if the store has that champion already.

    Raises:
        RefusedError: if the model was not judged against the store's champion.
        RegistryError: if there is no champion, or a file of it differs from its manifest.
        ConflictError: if another process changed the store's champion meanwhile.
        StoreError: if the store can't be written.
    """
    key = read_private_key(sign_with) if sign_with else None
    find_model(CHAMPION, artifacts_dir)  # raises if there is none, or it can't be read
    pointer = artifacts_dir / CHAMPION_FILE
    champion = parse_champion(pointer.read_bytes(), str(pointer))  # read once: another may be promoted at any time
    model = find_model(champion["id"], artifacts_dir)
    store = Store(address)
    version = store.pointer.read()
    present = parse_champion(version.content, store.pointer.where) if version else None
    if present and not unjudged:
        _check_judged(model, champion, present, address)
    is_changed = _send(model, store, key)
    if present and present["id"] == model.id:
        return is_changed
    store.pointer.write(render_champion({**champion, "before": list_history(present)}), version)
    logger.info("registry: pushed champion %s to %s", model.id, address)
    return True


def roll_back_store(address: str) -> str:
    """Makes the previous champion of a store its champion again, and returns its id.

    Raises:
        RegistryError: if there was none before, or its manifest is gone or broken.
        ConflictError: if another process changed the store's champion meanwhile.
        StoreError: if the store can't be read or written.
    """
    store = Store(address)
    version = store.pointer.read()
    if version is None:
        raise RegistryError(f"there is no {CHAMPION_FILE} in {address}: nothing to roll back; push a champion first")
    champion = roll_back(parse_champion(version.content, store.pointer.where), address)
    find_stored_model(champion["id"], store)
    store.pointer.write(render_champion(champion), version)
    return str(champion["id"])


def _check_judged(model: ModelFolder, champion: Mapping[str, Any], present: Mapping[str, Any], address: str) -> None:
    """Refuses to replace a store's champion that the model was not judged against."""
    if present["id"] == model.id or any(entry["id"] == present["id"] for entry in champion["before"]):
        return
    gate = model.read_manifest().get("gate")
    gate = gate if isinstance(gate, dict) else {}
    rivals = gate.get("rivals")  # earlier versions name none
    was_compared = isinstance(rivals, list) and present["id"] in rivals
    if was_compared and gate.get("allowed"):
        return
    problem = "did not pass the gate against" if was_compared else "was not compared with"
    raise RefusedError(
        f"not pushed: {model.id} {problem} {present['id']}, the champion of {address}. poster-genres run --publish-to "
        f"{address} makes a model that is; poster-genres push --unjudged replaces the champion all the same"
    )


def _send(model: ModelFolder, store: Store, key: "Ed25519PrivateKey | None") -> bool:
    """Brings a store's copy of a model up to date, and returns whether anything was missing.

    The manifest comes last: without it the model does not exist.
    """
    content, stored = model.manifest_path.read_bytes(), store.read_manifest(model.id)
    is_whole = stored is not None and _list_files(stored) == _list_files(content)
    is_signed = key is not None and is_signature(store.read_signature(model.id) or b"", content, key.public_key())
    if is_whole and stored == content and (is_signed or key is None):
        return False
    if is_whole and key is None and store.read_signature(model.id) is not None:
        logger.warning(
            "registry: %s stays as it was signed, without its new verdict: give the key to replace it "
            "(registry.sign_with, push --sign-with)",
            store.describe(model.id),
        )
        return False
    if not is_whole:
        store.send(model, model.verify()["files"])
    if key is not None and not is_signed:
        store.write_signature(model.id, key.sign(content))
    if stored != content:
        store.send(model, [MANIFEST])
    return True


def _list_files(manifest: bytes) -> Any:
    try:
        return parse_manifest(manifest, MANIFEST)["files"]
    except RegistryError:
        return None  # it is replaced
