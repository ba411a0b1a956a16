"""The posters stage: one task a part."""

import contextvars
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
from tasks.posters.fetching import Fetched, Validators, fetch_poster, make_session
from tasks.posters.progress import Progress
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

    `outcomes` is what `download_part` returns, over all parts.
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
def download_part(plan: PartPlan, settings: PosterSettings, threads: int, progress: Progress) -> Counter[str]:
    """Downloads the posters of one part, `threads` at a time, and writes the part once, if anything is new.

    Returns:
        How many came out how: `new`, `failed`; and of those that were there before `changed`, `unchanged` and `kept`,
        the latter where the server would not say.
    """
    local = threading.local()
    context = contextvars.copy_context()

    def start_thread() -> None:
        # Log lines of these threads belong to the same run.
        for variable, value in context.items():
            variable.set(value)
        local.session = sessions.enter_context(make_session())

    def ask(film: Mapping[str, Any]) -> tuple[Mapping[str, Any], Fetched]:
        validators = Validators(film["etag"], film["last_modified"]) if "sha256" in film else None
        fetched = fetch_poster(local.session, watchdog, film["poster_url"], settings, validators)
        progress.count(fetched.reason)
        return film, fetched

    with (
        Watchdog() as watchdog,
        ExitStack() as sessions,
        ThreadPoolExecutor(threads, "posters", initializer=start_thread) as pool,
    ):
        answers = list(pool.map(ask, plan.films))
    rows = [_row(film, fetched) for film, fetched in answers if _is_news(film, fetched)]
    if rows:
        ledger.update_part(plan.path, rows)
    outcomes = Counter(_outcome(film, fetched) for film, fetched in answers)
    logger.info("posters: %s, %s", plan.path.stem, dict(outcomes), extra={"part": plan.path.stem})
    return outcomes


def _outcome(film: Mapping[str, Any], fetched: Fetched) -> str:
    if "sha256" not in film:
        return "failed" if fetched.reason else "new"
    if fetched.reason:
        return "kept"
    return "unchanged" if fetched.unchanged or fetched.sha256 == film["sha256"] else "changed"


def _is_news(film: Mapping[str, Any], fetched: Fetched) -> bool:
    """Whether the ledger has to be told: not of a poster that is as it was, nor of one that is kept."""
    if "sha256" not in film:
        return True
    if fetched.reason or fetched.unchanged:
        return False
    return (film["sha256"], film["etag"], film["last_modified"]) != (
        fetched.sha256,
        fetched.etag,
        fetched.last_modified,
    )


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
