"""Extract the features of the images that have none."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.dataset.task import Dataset
from tasks.errors import RepairedError
from tasks.features.views import Views
from tasks.posters import ledger
from tasks.progress import Progress
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.features.backbone import Backbone

logger = logging.getLogger(__name__)


def extract_features(dataset: Dataset, backbone: "Backbone", settings: Settings, views: Views | None = None) -> Path:
    """Extracts the features of the images that have none, and returns their folder: one shard takes all cores.

    Args:
        dataset: Data set with the images.
        backbone: The backbone.
        settings: Settings of the run.
        views: Number of views that the images of each split have; None: those of the settings.

    Raises:
        RepairedError: If shards were damaged, or images can't be decoded, which are then marked in the ledger.
    """
    from tasks.features.extraction import make_feature_extractor
    from tasks.features.task import extract_shard, plan_extraction

    folder = settings.workspace.folder("features") / backbone.feature_key.folder_name
    plans = plan_extraction(dataset, folder, int(backbone.tapped.output.shape[1]), views or settings.views)
    if not plans:
        logger.info("features: up to date, all images have features")
        return folder
    progress = Progress("features", sum(len(plan.hashes) for plan in plans), "images")
    extractor = make_feature_extractor(backbone, settings.features, progress.advance)
    with progress:
        extractions = [extract_shard(plan, folder, extractor) for plan in plans]
    problems = [extraction.damage for extraction in extractions if extraction.damage]
    if undecodable := {sha256 for extraction in extractions for sha256 in extraction.undecodable}:
        ledger.mark_undecodable(settings.workspace.folder("posters"), undecodable)
        problems.append(f"{len(undecodable)} images that can't be decoded are left out")
    if problems:
        raise RepairedError(f"{'; '.join(problems)}: run again")
    return folder
