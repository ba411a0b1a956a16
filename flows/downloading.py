"""Download the missing posters of some films, several parts at a time."""

import contextlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from flows.runners import open_runner
from flows.spreading import Spreading
from tasks.posters.hosts import HostsLeftAlone
from tasks.posters.ledger import list_names
from tasks.posters.segments import Part, list_stored_files
from tasks.posters.staging import StoredPart, keep_stored_parts
from tasks.posters.task import PartDownload, PartPlan, PosterCounts, count_posters, download, give_up, plan_downloads
from tasks.posters.workers import open_pool
from tasks.progress import Progress
from tasks.settings import PosterSettings, RunnerSettings
from tasks.storage.folders import find_stored_folder
from tasks.storage.units import UnitResult


def download_posters(
    films: pa.Table, posters_dir: Path, settings: PosterSettings, runner: RunnerSettings
) -> PosterCounts:
    """Downloads the posters that are missing, and counts the posters by status. Called within a flow.

    Args:
        films: Columns `imdb_id` and `poster_url`.
        posters_dir: Folder of the poster parts.
        settings: Settings of the stage.
        runner: Settings of the runner.
    """
    plans = plan_downloads(films, posters_dir, settings)
    outcomes = _download(plans, posters_dir.resolve(), settings, runner) if plans else {}
    return count_posters(films, posters_dir, outcomes)


def _download(
    plans: Sequence[PartPlan], posters_dir: Path, settings: PosterSettings, runner_settings: RunnerSettings
) -> Counter[str]:
    # Each task has a connection to a host at least, and all of them together have no more than the settings say.
    max_slots = min(len(plans), settings.connections, settings.connections_per_host)
    outcomes: Counter[str] = Counter()
    left_alone = HostsLeftAlone()
    results: list[tuple[Part, UnitResult]] = []
    with contextlib.ExitStack() as stack:
        runner = stack.enter_context(open_runner(runner_settings, max_slots, posters_dir))
        progress = stack.enter_context(Progress("posters", sum(plan.num_requests for plan in plans)))
        stored = find_stored_folder(posters_dir) if runner.is_elsewhere else None
        if stored:  # segments of local data, of an interrupted run, and mended ones
            stored.send_missing(list_stored_files(posters_dir))
            # Also after an error: what was done is kept.
            stack.callback(keep_stored_parts, stored, results)
        present = list_names(posters_dir)
        if not runner.is_remote:
            stack.enter_context(open_pool(runner.slots, progress))

        def list_arguments(plan: PartPlan) -> dict[str, Any]:
            return {
                "plan": plan,
                "posters_dir": posters_dir,
                "settings": settings,
                "share": 1 / runner.slots,
                "left_alone": left_alone.reasons,
                "in_pool": not runner.is_remote,
                "stored": StoredPart.describe(stored, plan.number, plan.num_parts, present) if stored else None,
            }

        done: PartDownload | None
        for plan, done in Spreading("posters", runner, download, list_arguments, has_shares=True).run(plans):
            if done is None:
                give_up(plan, posters_dir, settings)
                continue
            progress.count(done.reasons)
            left_alone.add(done.left_alone)
            outcomes.update(done.outcomes)
            if done.result:
                results.append((Part(posters_dir, plan.number, plan.num_parts), done.result))
    return outcomes
