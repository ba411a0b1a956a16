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
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks import versions
from tasks.checking import CHECKSUMS
from tasks.dataset.task import Dataset
from tasks.errors import RefusedError
from tasks.fingerprints import Inputs, list_format_versions, list_versions
from tasks.hashing import hash_file
from tasks.model_folder import SVG_FOLDER, ModelFolder
from tasks.registry.gate import Verdict
from tasks.registry.models import list_models, models_dir, promote, publication, read_champion_id, registry_lock
from tasks.registry.provenance import describe_provenance
from tasks.registry.pushing import push_champion
from tasks.registry.verdicts import NUM_VERDICTS, count_verdicts, write_model_films
from tasks.settings import Settings

if TYPE_CHECKING:
    # These import TensorFlow, which a run without new inputs does not need.
    from tasks.evaluation.task import Evaluation
    from tasks.export.task import Export
    from tasks.report.page import Report

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
        catalog: `catalog_sha256` and `corrections_sha256`: hashes of MovieGenre.csv and its corrections, as they were.
        report: Content of report.html; None: it is not written.
        num_views: Number of views over which its predictions are averaged.
    """

    inputs: Inputs
    dataset: Dataset
    features: str
    backbone: Mapping[str, str]
    evaluation: "Evaluation"
    export: "Export"
    verdict: Verdict
    catalog: Mapping[str, str | None]
    report: "Report | None" = None
    num_views: int = 1


def list_inputs(dataset: Dataset, backbone: str, settings: Settings) -> Inputs:
    """Returns everything that decides the model of a run: equal inputs, equal model.

    Args:
        dataset: Data set with the films, images and splits.
        backbone: Identifier of the backbone's source.
        settings: Settings of the run; see `Settings.model_inputs`.
    """
    return Inputs(
        {
            "versions": list_format_versions(),
            "packages": {"poster-genres": version("poster-genres"), **list_versions()},
            "dataset": dataset.fingerprint,
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
    from tasks.registry.model_card import render_model_card

    metrics = candidate.evaluation.metrics
    created = datetime.now(UTC)
    classifier_path = ModelFolder(candidate.export.folder).keras_path
    model_id = f"{created:%Y%m%d-%H%M%S}-{hash_file(classifier_path)[:6]}"
    with registry_lock(settings.artifacts_dir, "a publication"):
        champion_id = read_champion_id(settings.artifacts_dir)
        gate = _decide(candidate.verdict, champion_id)
        why = _explain(gate) if gate["made_champion"] else None
        with publication(settings.artifacts_dir, model_id, why) as model:
            description = {
                "id": model_id,
                "format": versions.MODEL,
                "created": created.isoformat(timespec="seconds"),
                "recipe": metrics["recipe"],
                "macro_f1": metrics["model"]["macro_f1"],
                "genres": candidate.dataset.genres,
                **candidate.inputs.as_description(),
                "features": candidate.features,
                "num_views": candidate.num_views,
                "backbone": dict(candidate.backbone),
                "outputs": candidate.export.outputs,
                "export_check": candidate.export.check,
                "gate": gate,
                "provenance": describe_provenance() | dict(candidate.catalog),
            }
            _write_files(model, candidate, settings)
            model.card_path.write_text(render_model_card(description, metrics, settings), "utf-8")
            if candidate.report:
                page = candidate.report.render(description, model_id if why else champion_id, settings)
                model.html_report_path.write_text(page, "utf-8")
            model.write_manifest(description)
    outcome = "passed the gate" if why else f"stopped at the gate, the champion stays {champion_id or 'none'}"
    logger.info("registry: published %s, %s: %s", model_id, outcome, gate["reasons"])
    return ModelFolder(models_dir(settings.artifacts_dir) / model_id)


@task(name="record verdict", cache_policy=NO_CACHE)
def record_verdict(model: ModelFolder, verdict: Verdict, artifacts_dir: Path) -> None:
    """Writes a new verdict of a published model to its manifest, and makes the model champion if it passed.

    Args:
        model: A model of the registry.
        verdict: The verdict, made when the circumstances had changed.
        artifacts_dir: Folder of the registry.
    """
    with registry_lock(artifacts_dir, "a verdict"):
        num_verdicts = model.read_manifest()["gate"].get(NUM_VERDICTS, 1) + 1
        gate = {**_decide(verdict, read_champion_id(artifacts_dir)), NUM_VERDICTS: num_verdicts}
        model.update_manifest({"gate": gate})
    logger.info("registry: judged %s again: %s", model.id, gate["reasons"])
    if gate["made_champion"]:
        promote(artifacts_dir, model.id, _explain(gate))


def _decide(verdict: Verdict, champion_id: str | None) -> dict[str, Any]:
    """Returns the entry `gate` of the manifest: the verdict, and whether the model becomes champion.

    It was compared with the champion at that time; another may have been promoted since.
    """
    gate = {**verdict.as_dict(), "made_champion": verdict.allowed}
    compared_id = verdict.circumstances.get("champion")
    if verdict.allowed and compared_id != champion_id:
        gate["made_champion"] = False
        gate["reasons"] = (
            f"compared with {compared_id}, but the champion is now {champion_id}: the next run judges it again"
        )
    return gate


def _explain(gate: Mapping[str, Any]) -> str:
    return f"passed the gate: {gate['reasons']}"


def _write_files(model: ModelFolder, candidate: Candidate, settings: Settings) -> None:
    for source in (candidate.export.folder, candidate.evaluation.folder):
        # The manifest has the files' hashes.
        ignored = shutil.ignore_patterns("export.json", CHECKSUMS, SVG_FOLDER)
        shutil.copytree(source, model.path, ignore=ignored, dirs_exist_ok=True)
    write_model_films(candidate.dataset.films_path, model.films_path, count_verdicts(settings.artifacts_dir))
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
