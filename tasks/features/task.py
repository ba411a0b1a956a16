"""The features stage: one task a poster part."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.features import cache
from tasks.features.embedding import Embedder
from tasks.posters import ledger

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EmbedPlan:
    """The pictures to embed of one poster part, by their hashes."""

    part: Path
    hashes: frozenset[str]


def plan_embedding(posters_dir: Path, folder: Path) -> list[EmbedPlan]:
    """Returns the poster parts with pictures whose features are not in `folder`; each picture in one part only."""
    known = cache.read_hashes(folder)
    plans = []
    for part in ledger.part_paths(posters_dir):
        rows = ledger.read_part(part, ["sha256", "status"]).filter(pc.field("status") == ledger.OK)
        hashes = frozenset(rows["sha256"].to_pylist()) - known
        if hashes:
            plans.append(EmbedPlan(part, hashes))
            known |= hashes
    return plans


@task(
    name="embed posters",
    task_run_name="embed posters {plan.part.stem}",
    cache_policy=NO_CACHE,
)
def embed_part(plan: EmbedPlan, folder: Path, embed: Embedder) -> None:
    """Computes the features of the planned pictures of one poster part, and writes them once."""
    start = time.monotonic()
    rows = ledger.read_part(plan.part, ["sha256", "content"])
    # A picture that several films of the part show is embedded once.
    posters = {
        sha256: content
        for sha256, content in zip(rows["sha256"].to_pylist(), rows["content"].to_pylist(), strict=True)
        if sha256 in plan.hashes
    }
    features = embed(list(posters.values()))
    cache.append_features(folder / plan.part.name, list(posters), features)
    rate = len(posters) / (time.monotonic() - start)
    part = plan.part.stem
    logger.info("features: %s, %d posters embedded, %.0f/s", part, len(posters), rate, extra={"part": part})
