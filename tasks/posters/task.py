"""The task of the posters stage: one run a part."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.errors import DownloadError
from tasks.posters import ledger, segments
from tasks.posters.image_width import request_width
from tasks.posters.workers import Workers
from tasks.progress import Progress
from tasks.settings import PosterSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PartPlan:
    """The downloads of one part.

    Attributes:
        number: Number of the part.
        num_parts: Number of parts.
        films: All films of the part, as dicts with `imdb_id`, `poster_url` and, if that is not the catalog's address,
            `fallback_url`, which is.
        num_requests: Number of posters to download.
    """

    number: int
    num_parts: int
    films: Sequence[Mapping[str, Any]]
    num_requests: int

    @property
    def name(self) -> str:
        """Name of the part in the log."""
        return f"part-{self.number:05d}"

    def make_job(self, posters_dir: Path, settings: PosterSettings) -> dict[str, Any]:
        """Returns the arguments of `downloading.download_part`, JSON values."""
        return {
            "posters_dir": str(posters_dir.resolve()),
            "part": self.number,
            "num_parts": self.num_parts,
            "films": list(self.films),
            "settings": settings.model_dump(mode="json"),
        }


@dataclass(frozen=True)
class PosterCounts:
    """Numbers of posters.

    Attributes:
        num_films: Number of films in the catalog.
        num_ok: Number of films with a poster.
        failed: Number of films without one, by the reason of the failure, in this run or an earlier one.
        outcomes: Number of downloads of this run, by outcome, as `downloading.download` returns it, over all parts.
    """

    num_films: int
    num_ok: int
    failed: dict[str, int]
    outcomes: dict[str, int]

    @property
    def success_rate(self) -> float:
        return self.num_ok / self.num_films


def plan_downloads(films: pa.Table, posters_dir: Path, settings: PosterSettings) -> list[PartPlan]:
    """Returns the parts with posters to download. Damaged segments are repaired, and leftovers removed.

    Args:
        films: Columns `imdb_id` and `poster_url`.
        posters_dir: Folder of the parts.
        settings: Settings of the stage.
    """
    num_parts = ledger.choose_num_parts(posters_dir, films.num_rows, settings.posters_per_part)
    for part in segments.list_parts(posters_dir):
        part.remove_leftovers()
    plans = []
    for number, catalog_films in enumerate(ledger.split_into_parts(films, num_parts)):
        width = settings.image_width
        part_films = [request_width(film, width) for film in catalog_films] if width else catalog_films
        rows = ledger.read_rows(segments.find_lineage(posters_dir, number, num_parts))
        selected = ledger.select_films(part_films, rows, settings)
        if selected:
            plans.append(PartPlan(number, num_parts, part_films, len(selected)))
    return plans


# A poster's failure is data, not an exception. The exceptions left are the machine's.
@task(name="download posters", task_run_name="download posters {plan.name}", cache_policy=NO_CACHE)
def download(
    plan: PartPlan, posters_dir: Path, settings: PosterSettings, workers: Workers, progress: Progress
) -> Counter[str]:
    """Downloads the posters of one part with `downloading.download_part`, in another process.

    Args:
        plan: Downloads of the part.
        posters_dir: Folder of the parts.
        settings: Settings of the stage.
        workers: Processes that download.
        progress: Counts of all parts.

    Returns:
        The number of posters with each outcome.

    Raises:
        DownloadError: If the part can't be written, or the process dies twice.
    """
    outcomes = Counter(workers.download(plan.make_job(posters_dir, settings), progress))
    logger.info("posters: %s, %s", plan.name, dict(outcomes), extra={"part": plan.name})
    return outcomes


def count_posters(films: pa.Table, posters_dir: Path, outcomes: Mapping[str, int]) -> PosterCounts:
    """Counts the posters of films: every film has one, or is among the failed ones.

    Args:
        films: Column `imdb_id`.
        posters_dir: Folder of the parts.
        outcomes: Number of downloads of this run, by outcome.
    """
    rows = ledger.read_ledger(posters_dir).select(["imdb_id", "status", "reason"]).to_pandas()
    found = films.select(["imdb_id"]).to_pandas().merge(rows, on="imdb_id", how="left", validate="one_to_one")
    is_ok = found["status"] == segments.OK
    counts = PosterCounts(
        num_films=len(found),
        num_ok=int(is_ok.sum()),
        failed=dict(Counter(found.loc[~is_ok, "reason"].fillna("not requested")).most_common()),
        outcomes=dict(outcomes),
    )
    logger.info(
        "posters: %d films = %d posters + %d failed: %s; requested now: %s",
        counts.num_films,
        counts.num_ok,
        sum(counts.failed.values()),
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
        private = "; name private hosts that you trust in posters.allow_private_hosts"
        raise DownloadError(
            f"only {counts.num_ok:,} of {counts.num_films:,} posters could be downloaded ({counts.success_rate:.1%}; "
            f"posters.min_success_rate is {min_success_rate:.0%}). What was downloaded is kept; the next run requests "
            "those again whose failure may pass, with --retry-failed all"
            f"{private * ('private address' in counts.failed)}. Or lower the rate. Reasons of the failures:\n{table}"
        )
