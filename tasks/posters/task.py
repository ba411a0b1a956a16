"""The task of the posters stage: one run a part."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.errors import DownloadError
from tasks.posters import ledger
from tasks.posters.progress import Progress
from tasks.posters.workers import Workers
from tasks.settings import PosterSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PartPlan:
    """The downloads of one part.

    Attributes:
        path: Path of the part.
        films: Films whose posters are downloaded, as dicts with `imdb_id` and `poster_url`; those of which the part has
            a poster also have its `sha256`, `etag` and `last_modified`.
    """

    path: Path
    films: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class PosterCounts:
    """Numbers of posters.

    Attributes:
        num_films: Number of films in the catalog.
        num_ok: Number of films with a poster.
        failed: Number of failed downloads, by reason, in this run and earlier ones.
        outcomes: Number of downloads of this run, by outcome, as `downloading.download` returns it, over all parts.
    """

    num_films: int
    num_ok: int
    failed: dict[str, int]
    outcomes: dict[str, int]

    @property
    def success_rate(self) -> float:
        return self.num_ok / self.num_films


def plan_downloads(catalog_path: Path, posters_dir: Path, settings: PosterSettings) -> list[PartPlan]:
    """Returns the parts with posters to download.

    Args:
        catalog_path: Path of the catalog's `films.parquet`.
        posters_dir: Folder of the parts.
        settings: Settings of the stage.
    """
    films = pq.read_table(catalog_path, columns=["imdb_id", "poster_url"])
    num_parts = ledger.fix_num_parts(posters_dir, films.num_rows, settings.posters_per_part)
    plans = []
    for part, part_films in enumerate(ledger.split_into_parts(films, num_parts)):
        path = ledger.part_path(posters_dir, part)
        known = ledger.read_part(path, ["imdb_id", "url", "status", "sha256", "etag", "last_modified"])
        selected = ledger.select_films(part_films, known, retry_failed=settings.retry_failed, refresh=settings.refresh)
        if selected:
            plans.append(PartPlan(path, selected))
    return plans


# A poster's failure is data, not an exception. The exceptions left are the machine's, which a retry may cure.
@task(
    name="download posters",
    task_run_name="download posters {plan.path.stem}",
    cache_policy=NO_CACHE,
    retries=1,
    retry_delay_seconds=10,
)
def download_part(
    plan: PartPlan, settings: PosterSettings, connections: int, workers: Workers, progress: Progress
) -> Counter[str]:
    """Downloads the posters of one part with `downloading.download`, in another process.

    Args:
        plan: Downloads of the part.
        settings: Settings of the stage.
        connections: Number of posters downloaded at the same time.
        workers: Processes that download.
        progress: Counts of all parts, for the log.

    Returns:
        The number of posters with each outcome.

    Raises:
        DownloadError: If the part can't be written, or the process ends.
    """
    outcomes = workers.download(plan.path, plan.films, settings, connections, progress)
    logger.info("posters: %s, %s", plan.path.stem, dict(outcomes), extra={"part": plan.path.stem})
    return outcomes


def count_posters(catalog_path: Path, posters_dir: Path, outcomes: Mapping[str, int]) -> PosterCounts:
    """Counts the posters of the catalog's films.

    Args:
        catalog_path: Path of the catalog's `films.parquet`.
        posters_dir: Folder of the parts.
        outcomes: Number of downloads of this run, by outcome.
    """
    films = pq.read_table(catalog_path, columns=["imdb_id"])
    rows = ledger.read_ledger(posters_dir)
    rows = rows.filter(pc.is_in(rows["imdb_id"], films["imdb_id"].combine_chunks()))
    reasons = Counter(rows.filter(pc.field("status") == ledger.FAILED)["reason"].to_pylist())
    counts = PosterCounts(
        num_films=films.num_rows,
        num_ok=rows.num_rows - reasons.total(),
        failed=dict(reasons.most_common()),
        outcomes=dict(outcomes),
    )
    logger.info(
        "posters: %d of %d available; failed: %s; requested now: %s",
        counts.num_ok,
        counts.num_films,
        counts.failed or "none",
        counts.outcomes or "none",
    )
    return counts


def check_success(counts: PosterCounts, min_success_rate: float) -> None:
    """Checks that enough films have a poster.

    Args:
        counts: Numbers of posters.
        min_success_rate: Minimum share of the films, in [0, 1].

    Raises:
        DownloadError: If fewer have one; its message has a table of the reasons.
    """
    if counts.success_rate < min_success_rate:
        table = "\n".join(f"{count:>8,}  {reason}" for reason, count in counts.failed.items())
        raise DownloadError(
            f"only {counts.num_ok:,} of {counts.num_films:,} posters could be downloaded ({counts.success_rate:.1%}; "
            f"posters.min_success_rate is {min_success_rate:.0%}). Retry the failed ones with --retry-failed, or lower "
            f"the rate. Reasons of the failures:\n{table}"
        )
