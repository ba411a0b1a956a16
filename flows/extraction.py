"""Extract the features of the images that have none."""

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.runners import RunnerError, open_runner
from flows.spreading import Spreading
from flows.storing import FEATURES_PATTERN
from tasks.dataset.task import Dataset
from tasks.errors import RepairedError
from tasks.features.views import Views
from tasks.posters import ledger
from tasks.progress import Progress
from tasks.settings import Settings
from tasks.storage.folders import StoredFolder, find_stored_folder

if TYPE_CHECKING:
    from tasks.features.backbone import Backbone
    from tasks.features.task import Extraction, ExtractionPlan

logger = logging.getLogger(__name__)


def extract_features(dataset: Dataset, backbone: "Backbone", settings: Settings, views: Views | None = None) -> Path:
    """Extracts the features of the images that have none, and returns their folder.

    Args:
        dataset: Data set with the images.
        backbone: The backbone.
        settings: Settings of the run.
        views: Number of views that the images of each split have; None: those of the settings.

    Raises:
        RepairedError: If shards were damaged, or images can't be decoded, which are then marked in the ledger.
        RunnerError: The processes that tried some shards died, once the features of the others are there; or the
            runner has failed.
    """
    from tasks.features.task import plan_extraction

    folder = settings.workspace.folder("features") / backbone.feature_key.folder_name
    plans = plan_extraction(dataset, folder, int(backbone.tapped.output.shape[1]), views or settings.views)
    if not plans:
        logger.info("features: up to date, all images have features")
        return folder
    extractions = _extract(plans, folder.resolve(), backbone, settings)
    problems = [extraction.damage for extraction in extractions if extraction.damage]
    if undecodable := {sha256 for extraction in extractions for sha256 in extraction.undecodable}:
        ledger.mark_undecodable(settings.workspace.folder("posters"), undecodable)
        problems.append(f"{len(undecodable)} images that can't be decoded are left out")
    if problems:
        raise RepairedError(f"{'; '.join(problems)}: run again")
    return folder


def _extract(
    plans: "Sequence[ExtractionPlan]", folder: Path, backbone: "Backbone", settings: Settings
) -> "list[Extraction]":
    from tasks.features.extraction import make_feature_extractor
    from tasks.features.extractors import ExtractorKey, keep_extractor
    from tasks.features.task import Extraction, describe_stored_shard, discard_damaged, extract_shard

    progress = Progress("features", sum(plan.size for plan in plans), "images")
    features = settings.features.model_copy(update={"wheel_dir": settings.features.wheel_dir.resolve()})
    if settings.runner.kind == "threads":
        # One shard takes all cores.
        key = ExtractorKey(backbone.fingerprint, features)
        with keep_extractor(key, make_feature_extractor(backbone, features, progress.advance)), progress:
            return [discard_damaged(plan, extract_shard(plan, folder, key).value) for plan in plans]
    extractions: list[Extraction] = []
    given_up = []
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        runner = stack.enter_context(open_runner(settings.runner, len(plans), settings.workspace.folder("shards")))
        stack.enter_context(progress)
        stored = find_stored_folder(folder.parent, FEATURES_PATTERN) if runner.is_elsewhere else None
        if stored:
            # Also after an error: what was done is kept.
            stack.callback(_adopt, stored, extractions)
        key = ExtractorKey(backbone.fingerprint, features, runner.processes_per_machine)

        def list_arguments(plan: "ExtractionPlan") -> dict[str, Any]:
            shard = describe_stored_shard(plan, stored, folder.name) if stored else None
            return {"plan": plan, "folder": folder, "key": key, "stored": shard}

        for plan, extraction in Spreading("features", runner, extract_shard, list_arguments).run(plans):
            if extraction is None:
                given_up.append(plan.name)
                continue
            progress.advance(plan.size)
            extractions.append(discard_damaged(plan, extraction))
    if given_up:
        raise RunnerError(
            f"the features of {', '.join(given_up)} can't be extracted: the processes that tried it died; give them "
            "more memory, or choose runner.kind=threads, and run again: those of all other shards are kept"
        )
    return extractions


def _adopt(stored: StoredFolder, extractions: "Sequence[Extraction]") -> None:
    """Takes over what workers have sent to the store."""
    results = [extraction.result.files for extraction in extractions if extraction.result]
    stored.adopt({name: file for files in results for name, file in files.items()})
