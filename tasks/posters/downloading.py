"""Download the posters of one part into its segments."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tasks.posters.fetching import Fetched, PosterRequest, Validators, stream_posters
from tasks.posters.hosts import Hosts
from tasks.posters.ledger import join_small_segments, read_rows, select_films
from tasks.posters.segments import FAILED, OK, SEGMENT_BYTES, SEGMENT_ROWS, Part, find_lineage
from tasks.settings import PosterSettings


def download_part(
    posters_dir: str,
    part: int,
    num_parts: int,
    films: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    share: float = 1.0,
    left_alone: Mapping[str, str] | None = None,
    on_fetched: Callable[[Fetched], None] = lambda _: None,
) -> dict[str, dict[str, Any]]:
    """Downloads the posters of a part that are missing, and adds segments with them as they come.

    All arguments but the last are JSON values, so that any runner can call it in any process. After a crash it goes on
    where it was. One process at a time for each part.

    Args:
        posters_dir: Folder of the parts.
        part: Number of the part.
        num_parts: Number of parts.
        films: Films of the part, as in `PartPlan`.
        settings: Settings of the stage, as `PosterSettings` has them.
        share: Share of this call in the connections and rates of the run, in (0, 1].
        left_alone: Hosts that are left alone, with the reasons, as other calls returned them.
        on_fetched: Callback for each result, in the order of completion.

    Returns:
        `outcomes`, the number of posters with each outcome: `new` and `failed`, and for posters of earlier runs
        `changed`, `unchanged`, and `kept` if the request failed; and `left_alone`, the hosts that are left alone now.

    Raises:
        OSError: A segment can't be written, or this machine has no more open files.
    """
    given = PosterSettings.model_validate(settings)
    lineage = find_lineage(Path(posters_dir), part, num_parts)
    requested = select_films(films, read_rows(lineage), given)
    requests = [_build_request(film) for film in requested]
    hosts = Hosts(given, share, left_alone)
    outcomes: Counter[str] = Counter()
    with _SegmentWriter(lineage[-1]) as writer:

        def keep(number: int, fetched: Fetched) -> None:
            film = requested[number]
            outcomes[_outcome(film, fetched)] += 1
            if _is_row_changed(film, fetched):
                writer.add(_make_row(film, fetched))
            on_fetched(fetched)

        stream_posters(requests, given, hosts, keep, share)
    join_small_segments(lineage[-1])
    return {"outcomes": dict(outcomes), "left_alone": hosts.left_alone()}


class _SegmentWriter:
    """Writes rows to segments of a part, in a thread of its own; a context manager, whose end writes the rest.

    What was downloaded before an error is kept.

    Args:
        part: The part.
    """

    def __init__(self, part: Part) -> None:
        self._part = part
        self._rows: list[dict[str, Any]] = []
        self._num_bytes = 0
        self._writing: Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, "segments")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._thread:
            self._flush()
            self._wait()

    def add(self, row: dict[str, Any]) -> None:
        """Adds a row; at most two segments are in memory."""
        self._rows.append(row)
        self._num_bytes += row["num_bytes"] or 0
        if len(self._rows) >= SEGMENT_ROWS or self._num_bytes >= SEGMENT_BYTES:
            self._flush()

    def _flush(self) -> None:
        self._wait()
        if self._rows:
            self._writing = self._thread.submit(self._part.append, self._rows)
            self._rows, self._num_bytes = [], 0

    def _wait(self) -> None:
        if self._writing:
            writing, self._writing = self._writing, None
            writing.result()


def _build_request(film: Mapping[str, Any]) -> PosterRequest:
    validators = Validators(etag=film["etag"], last_modified=film["last_modified"]) if "sha256" in film else None
    return PosterRequest(film["poster_url"], validators, film.get("fallback_url"))


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


def _make_row(film: Mapping[str, Any], fetched: Fetched) -> dict[str, Any]:
    image = fetched.image
    return {
        "imdb_id": film["imdb_id"],
        "url": film["poster_url"],
        "status": FAILED if fetched.reason else OK,
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
