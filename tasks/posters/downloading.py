"""Download the posters of one part, and update the part."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.posters import ledger
from tasks.posters.fetching import Fetched, PosterRequest, Validators, fetch_posters
from tasks.settings import PosterSettings


def download(
    path: Path,
    films: Sequence[Mapping[str, Any]],
    settings: PosterSettings,
    connections: int,
    on_fetched: Callable[[Fetched], None],
) -> Counter[str]:
    """Downloads posters, and writes their part once if a row of it is new or changed.

    Args:
        path: Path of the part.
        films: Films whose posters are downloaded, as in `tasks.posters.task.PartPlan`.
        settings: Settings of the stage.
        connections: Number of posters downloaded at the same time.
        on_fetched: Callback for each result, in the order of completion.

    Returns:
        The number of posters with each outcome: `new` and `failed`; and for posters of earlier runs `changed`,
        `unchanged`, and `kept` if the request failed.
    """
    requests = [_build_request(film) for film in films]
    results = list(zip(films, fetch_posters(requests, settings, connections, on_fetched), strict=True))
    rows = [_row(film, fetched) for film, fetched in results if _is_row_changed(film, fetched)]
    if rows:
        ledger.update_part(path, rows)
    return Counter(_outcome(film, fetched) for film, fetched in results)


def _build_request(film: Mapping[str, Any]) -> PosterRequest:
    validators = Validators(etag=film["etag"], last_modified=film["last_modified"]) if "sha256" in film else None
    return PosterRequest(film["poster_url"], validators)


def _outcome(film: Mapping[str, Any], fetched: Fetched) -> str:
    if "sha256" not in film:
        return "failed" if fetched.reason else "new"
    if fetched.reason:
        return "kept"
    return "unchanged" if fetched.unchanged or fetched.sha256 == film["sha256"] else "changed"


def _is_row_changed(film: Mapping[str, Any], fetched: Fetched) -> bool:
    """Returns whether the ledger needs another row: not for an unchanged poster, nor for a kept one."""
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
