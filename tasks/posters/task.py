"""The posters stage: one task a part."""

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
    """The posters to ask for in one part, as dicts with `imdb_id` and `poster_url`.

    Those that are there and may have changed have `sha256`, `etag` and `last_modified` as well.
    """

    path: Path
    films: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class PosterCounts:
    """How many of the catalog's posters are there, failed by reason, and what came of those asked for in this run.

    `outcomes` is what `downloading.download` returns, over all parts.
    """

    num_films: int
    num_ok: int
    failed: dict[str, int]
    outcomes: dict[str, int]

    @property
    def success_rate(self) -> float:
        return self.num_ok / self.num_films


def plan_downloads(films_path: Path, posters_dir: Path, settings: PosterSettings) -> list[PartPlan]:
    """Returns the parts in which there are posters to ask for, with those."""
    films = pq.read_table(films_path, columns=["imdb_id", "poster_url"])
    num_parts = ledger.fix_num_parts(posters_dir, films.num_rows, settings.posters_per_part)
    plans = []
    for part, part_films in enumerate(ledger.split_into_parts(films, num_parts)):
        path = ledger.part_path(posters_dir, part)
        known = ledger.read_part(path, ["imdb_id", "url", "status", "sha256", "etag", "last_modified"])
        asked = ledger.films_to_ask_for(part_films, known, retry_failed=settings.retry_failed, refresh=settings.refresh)
        if asked:
            plans.append(PartPlan(path, asked))
    return plans


# Every poster's own failures are data. What is left to go wrong is the machine: worth a second try.
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
    """Downloads the posters of one part, as `downloading.download` does, in a process of its own.

    Raises:
        DownloadError: if that fails: not for a poster, but for what the machine lacks.
    """
    outcomes = workers.download(plan.path, plan.films, settings, connections, progress)
    logger.info("posters: %s, %s", plan.path.stem, dict(outcomes), extra={"part": plan.path.stem})
    return outcomes


def count_posters(films_path: Path, posters_dir: Path, outcomes: Mapping[str, int]) -> PosterCounts:
    """Counts what became of the catalog's posters, in this run and before."""
    films = pq.read_table(films_path, columns=["imdb_id"])
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
        "posters: %d of %d there; failed: %s; asked for now: %s",
        counts.num_ok,
        counts.num_films,
        counts.failed or "none",
        counts.outcomes or "none",
    )
    return counts


def check_success(counts: PosterCounts, min_success_rate: float) -> None:
    """Raises `DownloadError`, with the table of reasons, if fewer than `min_success_rate` of the posters are there."""
    if counts.success_rate < min_success_rate:
        table = "\n".join(f"{count:>8,}  {reason}" for reason, count in counts.failed.items())
        raise DownloadError(
            f"only {counts.num_ok:,} of {counts.num_films:,} posters could be downloaded ({counts.success_rate:.1%}; "
            f"posters.min_success_rate is {min_success_rate:.0%}). Ask again for the failed ones with --retry-failed, "
            f"or lower the rate. Why they failed:\n{table}"
        )
