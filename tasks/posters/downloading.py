"""Download one part of the posters, and write it down."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.posters import ledger
from tasks.posters.fetching import Fetched, Validators, fetch_posters
from tasks.settings import PosterSettings


def download(
    path: Path,
    films: Sequence[Mapping[str, Any]],
    settings: PosterSettings,
    connections: int,
    on_fetched: Callable[[Fetched], None],
) -> Counter[str]:
    """Downloads posters, `connections` at a time, and writes their part of the ledger once, if anything is new.

    Args:
        path: of the part.
        films: to ask for, as in `PartPlan`.
        settings: of the stage.
        connections: open at once.
        on_fetched: is called with each poster as it comes.

    Returns:
        How many came out how: `new`, `failed`; and of those that were there before `changed`, `unchanged` and `kept`,
        the latter where the server would not say.
    """
    asked = [
        (film["poster_url"], Validators(film["etag"], film["last_modified"]) if "sha256" in film else None)
        for film in films
    ]
    answers = list(zip(films, fetch_posters(asked, settings, connections, on_fetched), strict=True))
    rows = [_row(film, fetched) for film, fetched in answers if _is_news(film, fetched)]
    if rows:
        ledger.update_part(path, rows)
    return Counter(_outcome(film, fetched) for film, fetched in answers)


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
