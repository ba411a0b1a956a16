"""The task of the posters stage: one run a part."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.errors import DownloadError, describe_os_error
from tasks.posters import given_up, ledger, segments
from tasks.posters.downloading import download_part
from tasks.posters.fetching import Fetched
from tasks.posters.image_width import request_width
from tasks.posters.staging import StoredPart, download_stored_part
from tasks.posters.workers import find_pool
from tasks.settings import PosterSettings
from tasks.storage.units import UnitResult
from tasks.work_report import WorkReport, check_wanted, report_work

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

    @property
    def size(self) -> int:
        """Number of posters to download."""
        return self.num_requests

    def make_job(self, posters_dir: Path, settings: PosterSettings) -> dict[str, Any]:
        """Returns the arguments of `downloading.download_part`, JSON values."""
        place = {"posters_dir": str(posters_dir.resolve()), "part": self.number, "num_parts": self.num_parts}
        return {**place, **self.make_stored_job(settings)}

    def make_stored_job(self, settings: PosterSettings) -> dict[str, Any]:
        """Returns those for a part in a store, whose place is a `StoredPart`."""
        return {"films": list(self.films), "settings": settings.model_dump(mode="json")}


@dataclass(frozen=True)
class PartDownload:
    """What became of the downloads of one part.

    Attributes:
        outcomes: Number of posters with each outcome, as `downloading.download_part` returns it.
        reasons: Number of posters by reason of failure ("" for success), unless a `Progress` has counted them.
        left_alone: Hosts that are left alone now, with the reasons.
        result: What the worker sent to the store; None: it worked in the folder of the parts.
    """

    outcomes: Mapping[str, int]
    reasons: Mapping[str, int] = field(default_factory=dict)
    left_alone: Mapping[str, str] = field(default_factory=dict)
    result: UnitResult | None = None


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
    segments.remove_leftovers(posters_dir)
    present = ledger.list_names(posters_dir)
    plans = []
    for number, catalog_films in enumerate(ledger.split_into_parts(films, num_parts)):
        width = settings.image_width
        part_films = catalog_films.map(partial(request_width, width=width)) if width else catalog_films
        lineage = segments.find_lineage(posters_dir, number, num_parts)
        rows = ledger.read_rows(part for part in lineage if part.name in present)
        selected = ledger.select_films(part_films, rows, settings)
        if selected:
            plans.append(PartPlan(number, num_parts, part_films, len(selected)))
    return plans


# A poster's failure is data, not an exception. The exceptions left are the machine's.
@task(name="download posters", task_run_name="download posters {plan.name}", cache_policy=NO_CACHE)
def download(
    plan: PartPlan,
    posters_dir: Path,
    settings: PosterSettings,
    share: float = 1.0,
    left_alone: Mapping[str, str] | None = None,
    stored: StoredPart | None = None,
    *,
    in_pool: bool = False,
) -> WorkReport[PartDownload]:
    """Downloads the posters of one part with `downloading.download_part`.

    In the flow's process another one does it, from the pool that is open there (`workers.open_pool`), which also has
    the share and the hosts to leave alone. A worker process does it itself.

    Args:
        plan: Downloads of the part.
        posters_dir: Folder of the parts.
        settings: Settings of the stage.
        share: Share of this task in the connections and rates of the run, in (0, 1].
        left_alone: Hosts that are left alone, with the reasons, as other parts returned them.
        stored: The part in a store, for a worker that may have no such folder; None: it is in the folder.
        in_pool: Whether a process of the pool does it.

    Raises:
        DownloadError: If the part can't be written, or a process of the pool dies twice.
        StoreError: The store can't be read or written.
    """
    limits = {"share": share, "left_alone": left_alone}
    if in_pool:
        return report_work(lambda: _download_in_pool(plan, posters_dir, settings))
    return report_work(lambda: _download(plan, posters_dir, settings, limits, stored))


def _download_in_pool(plan: PartPlan, posters_dir: Path, settings: PosterSettings) -> PartDownload:
    return _log(plan, PartDownload(find_pool().download(plan.make_job(posters_dir, settings))))


def _download(
    plan: PartPlan, posters_dir: Path, settings: PosterSettings, limits: Mapping[str, Any], stored: StoredPart | None
) -> PartDownload:
    reasons: Counter[str] = Counter()
    unit = None

    def count(fetched: Fetched) -> None:
        reasons[fetched.reason or ""] += 1
        check_wanted()

    try:
        if stored:
            unit = download_stored_part(stored, {**plan.make_stored_job(settings), **limits, "on_fetched": count})
            result = unit.value
        else:
            result = download_part(**plan.make_job(posters_dir, settings), **limits, on_fetched=count)
    except OSError as error:  # a full disk, for example; a poster's failure is an outcome
        raise DownloadError(
            f"{plan.name} of the posters could not be downloaded: {describe_os_error(error)}; run again to go on "
            "with the rest"
        ) from error
    # What another run of the task did is known by its outcomes alone.
    counts = dict(reasons) or {"": sum(result["outcomes"].values())}
    return _log(plan, PartDownload(result["outcomes"], counts, result["left_alone"], unit))


def _log(plan: PartPlan, done: PartDownload) -> PartDownload:
    logger.info("posters: %s, %s", plan.name, dict(done.outcomes), extra={"part": plan.name})
    return done


def give_up(plan: PartPlan, posters_dir: Path, settings: PosterSettings) -> None:
    """Marks the posters of a part that ends every process that downloads it, and logs a warning.

    Args:
        plan: Downloads of the part.
        posters_dir: Folder of the parts.
        settings: Settings of the stage.
    """
    lineage = segments.find_lineage(posters_dir, plan.number, plan.num_parts)
    num_marked = given_up.mark_given_up(lineage, plan.films, settings)
    logger.warning(
        "posters: %s is given up for this run, the processes that downloaded it died: %d posters are missing (%s), "
        "the next run requests them again",
        plan.name,
        num_marked,
        ledger.WORKER_DIED,
        extra={"part": plan.name},
    )


def count_posters(films: pa.Table, posters_dir: Path, outcomes: Mapping[str, int]) -> PosterCounts:
    """Counts the posters of films: every film has one, or is among the failed ones.

    Args:
        films: Column `imdb_id`.
        posters_dir: Folder of the parts.
        outcomes: Number of downloads of this run, by outcome.
    """
    rows = ledger.read_ledger(posters_dir, ["imdb_id", "status", "reason"]).to_pandas()
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
