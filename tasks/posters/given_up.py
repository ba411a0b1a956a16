"""Parts whose download ends its process every time: they are given up for this run, and their posters marked."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from tasks.posters.ledger import WORKER_DIED, read_rows, select_films
from tasks.posters.segments import FAILED, LEDGER, Part
from tasks.settings import PosterSettings


def mark_given_up(lineage: list[Part], films: Iterable[Mapping[str, Any]], settings: PosterSettings) -> int:
    """Marks the posters of a part that are missing as failed; those of earlier runs are kept.

    Args:
        lineage: The part, last, and those that it was split from.
        films: Films of the part, as in `PartPlan`.
        settings: Settings of the stage.

    Returns:
        How many were marked.
    """
    missing = [film for film in select_films(films, read_rows(lineage), settings) if "sha256" not in film]
    row = dict.fromkeys(LEDGER.names) | {"status": FAILED, "reason": WORKER_DIED, "attempts": 0, "seconds": 0.0}
    row["fetched_at"] = datetime.now(UTC)
    if missing:
        lineage[-1].append([{**row, "imdb_id": film["imdb_id"], "url": film["poster_url"]} for film in missing])
    return len(missing)
