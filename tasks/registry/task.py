"""The registry stage."""

import hashlib
import json
import logging
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks import versions
from tasks.dataset.task import Dataset
from tasks.hashing import hash_file
from tasks.posters.task import PosterCounts
from tasks.registry.gate import Verdict
from tasks.registry.manifest import write_manifest
from tasks.registry.models import changing, list_models, models_dir, publication, read_champion_id
from tasks.registry.stores import push_champion
from tasks.settings import Settings

if TYPE_CHECKING:
    # These import TensorFlow, and a run that finds nothing new does without.
    from tasks.evaluation.task import Evaluation
    from tasks.export.task import Export

logger = logging.getLogger(__name__)

_PACKAGES = (
    "poster-genres",
    "tensorflow",
    "keras",
    "tensorflow-hub",
    "numpy",
    "pyarrow",
    "scikit-learn",
    "scipy",
    "prefect",
)


@dataclass(frozen=True)
class Published:
    """A published model.

    Attributes:
        id: in the registry.
        folder: where it is.
        is_champion: whether it is the current one.
        reasons: what the gate found, in a line.
    """

    id: str
    folder: Path
    is_champion: bool
    reasons: str


def fingerprint_inputs(dataset: Dataset, counts: PosterCounts, backbone: str, settings: Settings) -> str:
    """Returns a sha256 of all that decides what model comes out, hexadecimal: equal inputs, equal model.

    Args:
        dataset: the films and posters.
        counts: of the posters, some of which there have to be.
        backbone: what its source is known by.
        settings: of the stages behind the data set.
    """
    included: dict[str, Any] = {
        "seed": True,
        "features": {"taps"},
        "training": True,
        "heads": True,
        "evaluation": True,
        "export": True,
        "registry": True,
    }
    stages = settings.model_dump(mode="json", include=included)
    stages["registry"].pop("publish_to")  # changes where it goes, not what it is
    stage_versions = {name: value for name, value in vars(versions).items() if name.isupper()}
    packages = {name: version(name) for name in ("poster-genres", "tensorflow", "keras", "scikit-learn", "scipy")}
    enough = counts.success_rate >= settings.registry.min_success_rate
    made_of = [stage_versions, dataset.fingerprint, enough, backbone, stages, packages]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def find_made_of(artifacts_dir: Path, made_of: str) -> Published | None:
    """Returns the newest model that was made of exactly these inputs, if there is one."""
    for model in reversed(list_models(artifacts_dir)):
        if model.manifest.get("made_of") == made_of:
            return Published(model.id, model.folder, model.is_champion, model.manifest["gate"]["reasons"])
    return None


@task(name="publish model", cache_policy=NO_CACHE)
def publish_model(
    dataset: Dataset,
    evaluation: "Evaluation",
    export: "Export",
    verdict: Verdict,
    about: Mapping[str, Any],
    settings: Settings,
) -> Published:
    """Puts a model with all that is known of it into the registry, and makes it champion if the gate lets it.

    Args:
        dataset: it was made of.
        evaluation: its figures and report.
        export: the model itself.
        verdict: of the gate.
        about: for the manifest: `made_of`, `features`, `backbone`.
        settings: of the run.
    """
    created = datetime.now(UTC)
    model_id = f"{created:%Y%m%d-%H%M%S}-{hash_file(export.folder / 'classifier.keras')[:6]}"
    artifacts_dir = settings.artifacts_dir
    with changing(artifacts_dir, "a publication"):
        champion = read_champion_id(artifacts_dir)
        judged_against = evaluation.metrics.get("champion", {}).get("id")
        is_champion = verdict.allowed and champion == judged_against
        reasons = verdict.reasons
        if verdict.allowed and not is_champion:
            reasons = f"judged against {judged_against}, but the champion is now {champion}: promote it by hand"
        why = f"passed the gate: {reasons}" if is_champion else None
        with publication(artifacts_dir, model_id, why) as partial:
            for source in (export.folder, evaluation.folder):
                shutil.copytree(source, partial, ignore=shutil.ignore_patterns("export.json"), dirs_exist_ok=True)
            shutil.copy2(dataset.films_path, partial)
            _write_json(partial / "labels.json", dataset.genres)
            _write_json(partial / "settings.json", settings.model_dump(mode="json"))
            packages = {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}
            _write_json(partial / "versions.json", packages)
            manifest = {
                "id": model_id,
                "format": versions.MODEL,
                "created": created.isoformat(timespec="seconds"),
                "recipe": evaluation.metrics["recipe"],
                "macro_f1": evaluation.metrics["model"]["macro_f1"],
                "genres": dataset.genres,
                **about,
                "outputs": export.outputs,
                "export_check": export.check,
                "gate": {**verdict.as_dict(), "made_champion": is_champion, "reasons": reasons},
            }
            write_manifest(partial, manifest)
    outcome = "passed the gate" if is_champion else f"stopped at the gate, the champion stays {champion or 'none'}"
    logger.info("registry: published %s, %s: %s", model_id, outcome, reasons)
    return Published(model_id, models_dir(artifacts_dir) / model_id, is_champion, reasons)


# The network is what can heal.
@task(name="push champion", cache_policy=NO_CACHE, retries=3, retry_delay_seconds=[1, 5, 20])
def push(artifacts_dir: Path, address: str) -> None:
    """Brings a store up to date with the champion, if there is one and it is not there yet."""
    if read_champion_id(artifacts_dir) is None:
        logger.info("registry: no champion yet to push to %s", address)
    elif not push_champion(artifacts_dir, address):
        logger.info("registry: %s has the champion already", address)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
