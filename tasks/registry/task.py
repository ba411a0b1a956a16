"""The registry stage."""

import json
import logging
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks import versions
from tasks.checking import CHECKSUMS
from tasks.dataset.task import Dataset
from tasks.errors import RefusedError
from tasks.fingerprints import Inputs, list_versions
from tasks.hashing import hash_file
from tasks.model_folder import ModelFolder
from tasks.posters.task import PosterCounts
from tasks.registry.gate import Verdict
from tasks.registry.models import list_models, models_dir, publication, read_champion_id, registry_lock
from tasks.registry.pushing import push_champion
from tasks.settings import Settings

if TYPE_CHECKING:
    # These import TensorFlow, which a run without new inputs does not need.
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
class Candidate:
    """What is published as one model.

    Attributes:
        inputs: Everything that decides the model.
        dataset: Data set that it was trained on.
        features: Name of the folder of cached features that it was trained on.
        backbone: `source` and `fingerprint` of the backbone.
        evaluation: Its figures and report.
        export: The exported model.
        verdict: Verdict of the gate.
    """

    inputs: Inputs
    dataset: Dataset
    features: str
    backbone: Mapping[str, str]
    evaluation: "Evaluation"
    export: "Export"
    verdict: Verdict


def list_inputs(dataset: Dataset, counts: PosterCounts, backbone: str, settings: Settings) -> Inputs:
    """Returns everything that decides the model of a run: equal inputs, equal model.

    Args:
        dataset: Data set with the films, images and splits.
        counts: Numbers of posters; the gate compares their success rate with a bound.
        backbone: Identifier of the backbone's source.
        settings: Settings of the run; see `Settings.model_inputs`.
    """
    return Inputs(
        {
            "versions": {name: value for name, value in vars(versions).items() if name.isupper()},
            "packages": {"poster-genres": version("poster-genres"), **list_versions()},
            "dataset": dataset.fingerprint,
            "enough_posters": counts.success_rate >= settings.registry.min_success_rate,
            "backbone": backbone,
            "settings": settings.model_inputs(),
        }
    )


def find_current_model(artifacts_dir: Path, inputs: Inputs) -> ModelFolder | None:
    """Returns the newest model that has exactly these inputs, None if there is none.

    The log has in one line what changed since the newest model.
    """
    models = list_models(artifacts_dir)
    for model in reversed(models):
        if model.read_manifest().get("inputs_fingerprint") == inputs.fingerprint:
            logger.info("registry: up to date, the inputs of %s have not changed", model.id)
            return model
    if models:
        previous = models[-1].read_manifest().get("inputs")
        if not isinstance(previous, dict):
            logger.info("registry: a new model is made, %s was published by an earlier version", models[-1].id)
        else:
            change = inputs.describe_change(previous)
            logger.info("registry: a new model is made, changed since %s: %s", models[-1].id, change)
    return None


@task(name="publish model", cache_policy=NO_CACHE)
def publish_model(candidate: Candidate, settings: Settings) -> ModelFolder:
    """Adds a model to the registry, and makes it champion if it passed the gate.

    Args:
        candidate: The model with all that is recorded of it.
        settings: Settings of the run.
    """
    created = datetime.now(UTC)
    classifier_path = ModelFolder(candidate.export.folder).keras_path
    model_id = f"{created:%Y%m%d-%H%M%S}-{hash_file(classifier_path)[:6]}"
    with registry_lock(settings.artifacts_dir, "a publication"):
        champion_id = read_champion_id(settings.artifacts_dir)
        is_champion, reasons = _decide(candidate, champion_id)
        why = f"passed the gate: {reasons}" if is_champion else None
        with publication(settings.artifacts_dir, model_id, why) as model:
            _write_files(model, candidate, settings)
            model.write_manifest(
                {
                    "id": model_id,
                    "format": versions.MODEL,
                    "created": created.isoformat(timespec="seconds"),
                    "recipe": candidate.evaluation.metrics["recipe"],
                    "macro_f1": candidate.evaluation.metrics["model"]["macro_f1"],
                    "genres": candidate.dataset.genres,
                    **candidate.inputs.as_description(),
                    "features": candidate.features,
                    "backbone": dict(candidate.backbone),
                    "outputs": candidate.export.outputs,
                    "export_check": candidate.export.check,
                    "gate": {**candidate.verdict.as_dict(), "made_champion": is_champion, "reasons": reasons},
                }
            )
    outcome = "passed the gate" if is_champion else f"stopped at the gate, the champion stays {champion_id or 'none'}"
    logger.info("registry: published %s, %s: %s", model_id, outcome, reasons)
    return ModelFolder(models_dir(settings.artifacts_dir) / model_id)


def _decide(candidate: Candidate, champion_id: str | None) -> tuple[bool, str]:
    """Returns whether the candidate becomes champion, and the reasons.

    The candidate was compared with the champion at that time; another may have been promoted since.
    """
    verdict = candidate.verdict
    compared_id = candidate.evaluation.metrics.get("champion", {}).get("id")
    if verdict.allowed and compared_id != champion_id:
        return False, f"compared with {compared_id}, but the champion is now {champion_id}: promote it by hand"
    return verdict.allowed, verdict.reasons


def _write_files(model: ModelFolder, candidate: Candidate, settings: Settings) -> None:
    for source in (candidate.export.folder, candidate.evaluation.folder):
        # The manifest has the files' hashes.
        ignored = shutil.ignore_patterns("export.json", CHECKSUMS)
        shutil.copytree(source, model.path, ignore=ignored, dirs_exist_ok=True)
    shutil.copy2(candidate.dataset.films_path, model.films_path)
    _write_json(model.labels_path, candidate.dataset.genres)
    _write_json(model.settings_path, settings.model_dump(mode="json"))
    packages = {name: version(name) for name in _PACKAGES}
    _write_json(model.versions_path, {"python": platform.python_version(), **packages})


# A retry helps where the network failed.
@task(name="push champion", cache_policy=NO_CACHE, retries=3, retry_delay_seconds=[1, 5, 20])
def push(artifacts_dir: Path, address: str, sign_with: Path | None = None) -> None:
    """Copies the champion to a store, if there is one and the store lacks it.

    A champion that was not judged against the store's stays here, with a warning: another machine was faster, or a
    person went back to an earlier champion here alone. The next run compares with the store's.
    """
    if read_champion_id(artifacts_dir) is None:
        logger.info("registry: no champion yet to push to %s", address)
        return
    try:
        if not push_champion(artifacts_dir, address, sign_with=sign_with):
            logger.info("registry: %s has the champion already", address)
    except RefusedError as error:
        logger.warning("registry: %s", error)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
