"""The registry stage."""

import json
import logging
import platform
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.atomic import atomic_folder
from tasks.evaluation.task import Evaluation
from tasks.export.task import Export
from tasks.features.backbone import Backbone
from tasks.hashing import hash_file
from tasks.registry.manifest import write_manifest
from tasks.registry.store import models_dir, name_champion
from tasks.settings import Settings

logger = logging.getLogger(__name__)

_PACKAGES = ("poster-genres", "tensorflow", "keras", "tensorflow-hub", "numpy", "pyarrow", "scikit-learn", "prefect")


@dataclass(frozen=True)
class Published:
    """A published model: its id and its folder."""

    id: str
    folder: Path


@task(name="publish model", cache_policy=NO_CACHE, tags=["registry"])
def publish_model(export: Export, evaluation: Evaluation, backbone: Backbone, settings: Settings) -> Published:
    """Puts the model with all that is known of it into the registry, and names it champion."""
    created = datetime.now(UTC)
    content_hash = hash_file(export.folder / "classifier.keras")
    model_id = f"{created:%Y%m%d-%H%M%S}-{content_hash[:6]}"
    folder = models_dir(settings.artifacts_dir) / model_id
    with atomic_folder(folder) as partial:
        for source in (export.folder, evaluation.folder):
            shutil.copytree(source, partial, dirs_exist_ok=True)
        _write_json(partial / "labels.json", evaluation.metrics["vocabulary"])
        _write_json(partial / "settings.json", settings.model_dump(mode="json"))
        versions = {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}
        _write_json(partial / "versions.json", versions)
        about = {
            "id": model_id,
            "created": created.isoformat(timespec="seconds"),
            "recipe": evaluation.metrics["recipe"],
            "macro_f1": evaluation.metrics["model"]["macro_f1"],
            "genres": evaluation.metrics["vocabulary"],
            "backbone": {"source": backbone.source, "fingerprint": backbone.fingerprint},
            "export_check": {"posters": export.num_checked, "largest_difference": export.largest_difference},
        }
        write_manifest(partial, about)
    name_champion(settings.artifacts_dir, model_id)
    logger.info("registry: published %s, now the champion of %s", model_id, settings.artifacts_dir)
    return Published(model_id, folder)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
