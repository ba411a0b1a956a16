"""The posters stage: one task a part."""

import logging
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.errors import DownloadError
from tasks.posters import ledger
from tasks.posters.deadlines import Watchdog
from tasks.posters.fetching import Fetched, fetch_poster, make_session
from tasks.posters.progress import Progress
from tasks.settings import PosterSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PartPlan:
    """The posters to ask for in one part, as dicts with `imdb_id` and `poster_url`."""

    path: Path
    films: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class PosterCounts:
    """How many of the catalog's posters are there, were asked for in this run, and failed by reason."""

    num_films: int
    num_ok: int
    num_asked: int
    failed: dict[str, int]

    @property
    def success_rate(self) -> float:
        return self.num_ok / self.num_films


def plan_downloads(films_path: Path, posters_dir: Path, settings: PosterSettings) -> list[PartPlan]:
    """Returns the parts in which posters are missing, with those that are."""
    films = pq.read_table(films_path, columns=["imdb_id", "poster_url"])
    num_parts = ledger.fix_num_parts(posters_dir, films.num_rows, settings.posters_per_part)
    plans = []
    for part, part_films in enumerate(ledger.split_into_parts(films, num_parts)):
        path = ledger.part_path(posters_dir, part)
        known = ledger.read_part(path, ["imdb_id", "url", "status"])
        missing = ledger.films_to_ask_for(part_films, known, retry_failed=settings.retry_failed)
        if missing:
            plans.append(PartPlan(path, missing))
    return plans


# Every poster's own failures are data. What is left to go wrong is the machine: worth a second try.
@task(
    name="download posters",
    task_run_name="download posters {plan.path.stem}",
    cache_policy=NO_CACHE,
    retries=1,
    retry_delay_seconds=10,
    tags=["posters"],
)
def download_part(plan: PartPlan, settings: PosterSettings, threads: int, progress: Progress) -> None:
    """Downloads the posters of one part, `threads` at a time, and writes the part once."""
    local = threading.local()

    def open_session() -> None:
        local.session = sessions.enter_context(make_session())

    def ask(film: Mapping[str, Any]) -> dict[str, Any]:
        fetched = fetch_poster(local.session, watchdog, film["poster_url"], settings)
        progress.count(fetched.reason)
        return _row(film, fetched)

    with (
        Watchdog() as watchdog,
        ExitStack() as sessions,
        ThreadPoolExecutor(threads, "posters", initializer=open_session) as pool,
    ):
        rows = list(pool.map(ask, plan.films))
    ledger.update_part(plan.path, rows)


def count_posters(films_path: Path, posters_dir: Path, num_asked: int) -> PosterCounts:
    """Counts what became of the catalog's posters, in this run and before."""
    films = pq.read_table(films_path, columns=["imdb_id"])
    rows = ledger.read_ledger(posters_dir)
    rows = rows.filter(pc.is_in(rows["imdb_id"], films["imdb_id"].combine_chunks()))
    reasons = Counter(rows.filter(pc.field("status") == ledger.FAILED)["reason"].to_pylist())
    counts = PosterCounts(
        num_films=films.num_rows,
        num_ok=rows.num_rows - reasons.total(),
        num_asked=num_asked,
        failed=dict(reasons.most_common()),
    )
    logger.info(
        "posters: %d of %d there, %d asked for now; failed: %s",
        counts.num_ok,
        counts.num_films,
        num_asked,
        counts.failed or "none",
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


def _row(film: Mapping[str, Any], fetched: Fetched) -> dict[str, Any]:
    image = fetched.image
    return {
        "imdb_id": film["imdb_id"],
        "url": film["poster_url"],
        "status": ledger.FAILED if fetched.reason else ledger.OK,
        "reason": fetched.reason,
        "attempts": fetched.attempts,
        "http_status": fetched.http_status,
        "sha256": fetched.sha256,
        "num_bytes": len(fetched.content) if fetched.content is not None else None,
        "format": image and image.format,
        "width": image and image.width,
        "height": image and image.height,
        "etag": fetched.etag,
        "last_modified": fetched.last_modified,
        "seconds": fetched.seconds,
        "fetched_at": datetime.now(UTC),
        "content": fetched.content,
    }
