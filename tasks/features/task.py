"""The features stage: one task a poster part."""

import logging
import time
from pathlib import Path

import pyarrow.compute as pc
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.features import cache
from tasks.features.backbone import Backbone
from tasks.features.embedding import embed_posters
from tasks.posters import ledger
from tasks.settings import FeatureSettings

logger = logging.getLogger(__name__)


def parts_to_embed(posters_dir: Path, folder: Path) -> list[Path]:
    """Returns the poster parts with a picture whose features are not in `folder`."""
    known = cache.read_hashes(folder)
    return [path for path in ledger.part_paths(posters_dir) if set(_hashes(path)) - known]


@task(
    name="embed posters",
    task_run_name="embed posters {part.stem}",
    cache_policy=NO_CACHE,
    tags=["features"],
)
def embed_part(part: Path, folder: Path, backbone: Backbone, settings: FeatureSettings) -> int:
    """Computes the features of the pictures of one poster part that have none yet, and writes them once.

    Returns:
        How many pictures were embedded.
    """
    start = time.monotonic()
    known = cache.read_hashes(folder)
    rows = ledger.read_part(part, ["sha256", "status", "content"])
    rows = rows.filter(pc.field("status") == ledger.OK)
    # A picture that several films show is embedded once.
    new = {
        sha256: content
        for sha256, content in zip(rows["sha256"].to_pylist(), rows["content"].to_pylist(), strict=True)
        if sha256 not in known
    }
    if new:
        features = embed_posters(backbone, list(new.values()), settings.batch_size)
        cache.append_features(folder / part.name, list(new), features)
    seconds = time.monotonic() - start
    logger.info("features: %s, %d posters embedded, %.0f/s", part.stem, len(new), len(new) / seconds)
    return len(new)


def _hashes(part: Path) -> list[str]:
    rows = ledger.read_part(part, ["sha256", "status"])
    hashes: list[str] = rows.filter(pc.field("status") == ledger.OK)["sha256"].to_pylist()
    return hashes
