"""Download the missing posters of some films, several parts at a time."""

from collections import Counter
from pathlib import Path

import joblib
import pyarrow as pa
from prefect import unmapped

from tasks.posters.task import PosterCounts, count_posters, download, plan_downloads
from tasks.posters.workers import Workers
from tasks.progress import Progress
from tasks.settings import PosterSettings

# One on each core; on a single core two, so that one downloads while the other waits for its slowest poster.
PARTS_AT_ONCE = max(2, joblib.cpu_count())


def download_posters(films: pa.Table, posters_dir: Path, settings: PosterSettings) -> PosterCounts:
    """Downloads the posters that are missing, and counts the posters by status. Called within a flow.

    Args:
        films: Columns `imdb_id` and `poster_url`.
        posters_dir: Folder of the poster parts.
        settings: Settings of the stage.
    """
    plans = plan_downloads(films, posters_dir, settings)
    outcomes: Counter[str] = Counter()
    if plans:
        num_posters = sum(plan.num_requests for plan in plans)
        with Progress("posters", num_posters) as progress, Workers(min(PARTS_AT_ONCE, len(plans))) as workers:
            counts = download.map(
                plan=plans,
                posters_dir=unmapped(posters_dir),
                settings=unmapped(settings),
                workers=unmapped(workers),
                progress=unmapped(progress),
            )
            outcomes = sum(counts.result(), outcomes)
    return count_posters(films, posters_dir, outcomes)
