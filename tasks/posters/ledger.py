"""The ledger of downloads: which row of the segments is a film's, and which posters are to be requested."""

import contextlib
import hashlib
import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, overload

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.checking import DamagedFileError
from tasks.errors import RegistryError, RepairedError
from tasks.posters.segments import (
    FAILED,
    LEDGER,
    LIGHT_COLUMNS,
    OK,
    Part,
    find_lineage,
    is_whole,
    iterate_groups,
    list_parts,
    read_num_parts,
    read_segment,
    write_num_parts,
)
from tasks.settings import PosterSettings
from tasks.storage.folders import open_stored
from tasks.web.client import is_transient

# Rows that are copied at a time to bring them into the order of the parts.
_ROWS_AT_ONCE = 500_000
_SEGMENTS_AT_ONCE = 256

# The reason of posters whose download ended its process every time; see `given_up`.
WORKER_DIED = "worker died"

# The reasons of failures that another request may not have. Those of statuses are in `tasks.web.client.is_transient`.
_TRANSIENT_REASONS = frozenset(
    {
        *("timeout", "connection broken", "no connection", "no secure connection", "name not resolved"),
        *("proxy refused", "host unreachable", "host refuses", "network unreachable"),
        # These depend on settings, or on an earlier version's.
        *("private address", "bad address"),
        WORKER_DIED,
    }
)


def choose_num_parts(posters_dir: Path, num_films: int, posters_per_part: int) -> int:
    """Returns the number of parts of the ledger, a power of two; it doubles as the catalog grows.

    Args:
        posters_dir: Folder of the parts.
        num_films: Number of films in the catalog.
        posters_per_part: Number of posters in a part, approximately.
    """
    present = read_num_parts(posters_dir)
    num_parts = present or 1
    while num_films > num_parts * posters_per_part * 1.5:
        num_parts *= 2
    if num_parts != present:
        write_num_parts(posters_dir, num_parts)
    return num_parts


def assign_part(imdb_id: int, num_parts: int) -> int:
    """Returns the number of a film's part, in [0, num_parts); it depends on a hash of the id only."""
    digest = hashlib.blake2b(str(imdb_id).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % num_parts


class PartFilms(Sequence[dict[str, Any]]):
    """Films of a part, as dicts with the columns of a table, each made when it is read: a dict is 400 bytes.

    Args:
        table: The films.
        change: Function that each dict is changed by.
    """

    def __init__(self, table: pa.Table, change: Callable[[dict[str, Any]], Any] | None = None) -> None:
        self._table = table
        self._change = change

    def map(self, change: Callable[[dict[str, Any]], Any]) -> "PartFilms":
        """Returns the films changed by a function, when they are read."""
        return PartFilms(self._table, change)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        films: list[dict[str, Any]] = self._table.to_pylist()
        return (list(map(self._change, films)) if self._change else films)[index]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self[:])

    def __reduce__(self) -> tuple[type[list[dict[str, Any]]], tuple[list[dict[str, Any]]]]:
        return list, (self[:],)  # a pickled table has the rows of other parts, too


def split_into_parts(films: pa.Table, num_parts: int) -> Iterator[PartFilms]:
    """Yields the films of each part, as dicts with `imdb_id` and `poster_url`, in the order of the catalog."""
    parts = _assign_parts(films["imdb_id"], num_parts)
    order = np.argsort(parts, kind="stable")
    bounds = np.searchsorted(parts[order], np.arange(num_parts + 1))
    films = films.select(["imdb_id", "poster_url"])
    start = 0
    while start < num_parts:
        # Many parts at a time, as rows can't be taken from a table of several pieces without a copy of a whole column.
        stop = max(start + 1, int(np.searchsorted(bounds, bounds[start] + _ROWS_AT_ONCE, "right")) - 1)
        some = films.take(pa.array(order[bounds[start] : bounds[stop]]))
        for part in range(start, stop):
            yield PartFilms(some.slice(bounds[part] - bounds[start], bounds[part + 1] - bounds[part]))
        start = stop


def _assign_parts(imdb_ids: pa.ChunkedArray, num_parts: int) -> NDArray[np.int32]:
    """Returns `assign_part` of some ids, shape `(num_ids,)`."""
    # A piece at a time, so that the ids are not all objects at once.
    pieces = [
        np.fromiter((assign_part(imdb_id, num_parts) for imdb_id in chunk.to_pylist()), np.int32, len(chunk))
        for chunk in imdb_ids.chunks
    ]
    return np.concatenate([np.empty(0, np.int32), *pieces])


def may_pass(reason: str, http_status: int | None) -> bool:
    """Returns whether a failed download may succeed if it is tried again."""
    return reason in _TRANSIENT_REASONS or (http_status is not None and is_transient(http_status))


def select_films(
    films: Iterable[Mapping[str, Any]], rows: pa.Table, settings: PosterSettings, now: datetime | None = None
) -> list[Mapping[str, Any]]:
    """Returns the films of a part whose posters are to be requested.

    Those without a poster from their present address, unless its request failed for good less than
    `forget_after_days` ago. Those that failed before come last: what their hosts do does not delay the others.

    Args:
        films: Films of the part, with `imdb_id` and `poster_url`.
        rows: Rows of the part's segments, oldest first, columns `LIGHT_COLUMNS`.
        settings: Settings of the stage; with `refresh` films that have a poster are selected, too, with the `sha256`,
            `etag` and `last_modified` of its row.
        now: Time of the request; by default the present.
    """
    oldest = (now or datetime.now(UTC)) - timedelta(days=settings.forget_after_days)
    posters = {row["imdb_id"]: row for row in find_current(rows).to_pylist() if row["status"] == OK}
    failures = {(row["imdb_id"], row["url"]): row for row in rows.filter(pc.field("status") == FAILED).to_pylist()}
    selected: list[Mapping[str, Any]] = []
    failed: list[Mapping[str, Any]] = []
    for film in films:
        poster = posters.get(film["imdb_id"])
        failure = failures.get((film["imdb_id"], film["poster_url"]))
        if poster is not None and poster["url"] == film["poster_url"]:
            if settings.refresh:
                selected.append({**film, **{name: poster[name] for name in ("sha256", "etag", "last_modified")}})
        elif failure is None:
            selected.append(film)
        elif (
            settings.retry_failed
            or failure["fetched_at"] < oldest
            or may_pass(failure["reason"], failure["http_status"])
        ):
            failed.append(film)
    return selected + failed


def find_current(rows: pa.Table) -> pa.Table:
    """Returns the row of each film, by id: its last poster, or if it has none its last failure.

    So a failure does not replace a poster: if the download from a film's new address fails, the poster stays.

    Args:
        rows: Rows with at least `imdb_id` and `status`, oldest first.
    """
    return rows.take(pa.array(_find_current_rows(rows)))


def _find_current_rows(rows: pa.Table) -> NDArray[np.intp]:
    """Returns the index of the row of each film, by id."""
    imdb_ids = rows["imdb_id"].to_numpy()
    # Stable: of equal ones, the last row is the last.
    order = np.lexsort((pc.equal(rows["status"], OK).to_numpy(), imdb_ids))
    ordered_ids = imdb_ids[order]
    is_last = np.ones(len(order), bool)
    is_last[:-1] = ordered_ids[1:] != ordered_ids[:-1]
    return order[is_last]


def _drop_outdated(rows: pa.Table) -> pa.Table:
    """Returns the rows that may still be read: the film's own, and the last failure of each address."""
    failed = pd.DataFrame({name: rows[name].to_pylist() for name in ("imdb_id", "url", "status")})
    failed = failed[failed["status"] == FAILED].drop_duplicates(["imdb_id", "url"], keep="last")
    return rows.take(pa.array(np.union1d(_find_current_rows(rows), failed.index.to_numpy(np.intp))))


def join_small_segments(part: Part) -> None:
    """Joins the small segments of a part if there are many, without the rows that later ones replace.

    A segment that is damaged is left as it is: the next reader repairs it.
    """
    with contextlib.suppress(DamagedFileError):
        part.join_small_segments(_drop_outdated)


def read_rows(parts: Iterable[Part], columns: Sequence[str] = LIGHT_COLUMNS) -> pa.Table:
    """Returns the rows of all segments of some parts, oldest first. Damaged ones are repaired.

    Args:
        parts: The parts.
        columns: Names of the columns, by default all but `content`.
    """
    tables = [LEDGER.empty_table().select(columns)]
    waiting: list[pa.Table] = []
    for *_, table in _read_segments(parts, columns):
        waiting.append(table)
        if len(waiting) == _SEGMENTS_AT_ONCE:
            # What describes the columns of a segment takes more memory than its ids.
            tables.append(pa.concat_tables(waiting).combine_chunks())
            waiting = []
    return pa.concat_tables([*tables, *waiting])


def _read_segments(parts: Iterable[Part], columns: Sequence[str]) -> Iterator[tuple[Part, Path, pa.Table]]:
    """Yields all segments of some parts with some columns of their rows. Damaged ones are repaired."""
    for part in parts:
        paths = part.paths()
        while paths:
            path = paths.pop(0)
            try:
                rows = read_segment(path, columns)
            except DamagedFileError as error:
                paths = [*part.repair(path, error.problem), *paths]
            else:
                yield part, path, rows


def list_names(posters_dir: Path) -> frozenset[str]:
    """Returns the names of the parts that have files.

    Reading a part that has none lists the whole folder, which most ancestors of many parts would do for each of these.
    """
    return frozenset(part.name for part in list_parts(posters_dir))


def read_ledger(posters_dir: Path, columns: Sequence[str] = LIGHT_COLUMNS) -> pa.Table:
    """Returns the row of each film, in the order of the parts and of the ids in each part.

    Args:
        posters_dir: Folder of the parts.
        columns: Names of the columns, by default all but `content`.
    """
    num_parts = read_num_parts(posters_dir) or 1
    rows = read_rows(list_parts(posters_dir), list(dict.fromkeys(["imdb_id", "status", *columns])))
    current = _find_current_rows(rows)
    parts = _assign_parts(rows["imdb_id"].take(pa.array(current)), num_parts)
    # Stable: the current rows are in the order of ids.
    return rows.select(columns).take(pa.array(current[np.argsort(parts, kind="stable")]))


def iterate_posters(posters_dir: Path, imdb_ids: Collection[int] | NDArray[np.int64]) -> Iterator[tuple[int, bytes]]:
    """Yields ids and image bytes of films, in the order of `read_ledger`; some megabytes are in memory at a time.

    Args:
        posters_dir: Folder of the parts.
        imdb_ids: Ids of the films; those without a poster are left out.

    Raises:
        RepairedError: A segment was damaged. What was damaged is no longer in the ledger, which is to be read again.
    """
    num_parts = read_num_parts(posters_dir) or 1
    wanted, present = _sort_ids(imdb_ids), list_names(posters_dir)
    for number in _list_parts_of(wanted, num_parts):
        lineage = [part for part in find_lineage(posters_dir, number, num_parts) if part.name in present]
        yield from _iterate_part(lineage, number, num_parts, wanted)


def iterate_part(
    posters_dir: Path, number: int, num_parts: int, imdb_ids: Collection[int]
) -> Iterator[tuple[int, bytes]]:
    """Yields ids and image bytes of some films of one part, in the order of ids; see `iterate_posters`."""
    return _iterate_part(find_lineage(posters_dir, number, num_parts), number, num_parts, _sort_ids(imdb_ids))


def _sort_ids(imdb_ids: Collection[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    return np.sort(np.fromiter(imdb_ids, np.int64, len(imdb_ids)))


def _list_parts_of(imdb_ids: NDArray[np.int64], num_parts: int) -> list[int]:
    """Returns the numbers of the parts that some films are in, ascending."""
    numbers: set[int] = set()
    for imdb_id in map(int, imdb_ids):
        numbers.add(assign_part(imdb_id, num_parts))
        if len(numbers) == num_parts:  # of many films that is soon, and the others need no hash
            break
    return sorted(numbers)


def _iterate_part(
    lineage: Iterable[Part], number: int, num_parts: int, wanted: NDArray[np.int64]
) -> Iterator[tuple[int, bytes]]:
    segments = list(_read_segments(lineage, ["imdb_id", "status"]))
    if not segments:
        return
    rows = pa.concat_tables([table for *_, table in segments])
    is_wanted = np.zeros(rows.num_rows, bool)
    is_wanted[_find_current_rows(rows)] = True
    is_wanted &= pc.equal(rows["status"], OK).to_numpy()
    is_wanted &= _assign_parts(rows["imdb_id"], num_parts) == number
    imdb_ids = rows["imdb_id"].to_numpy()
    is_wanted &= np.searchsorted(wanted, imdb_ids, "left") < np.searchsorted(wanted, imdb_ids, "right")
    bounds = np.cumsum([table.num_rows for *_, table in segments])[:-1]
    pieces = zip(segments, np.split(is_wanted, bounds), strict=True)
    # A segment in a store is not opened in vain, for two requests.
    found = [(part, path, is_piece) for (part, path, _), is_piece in pieces if is_piece.any()]
    # The rows of a segment are in the order of ids.
    yield from heapq.merge(*(_iterate_segment(*piece) for piece in found))


def read_poster(posters_dir: Path, imdb_id: int) -> bytes | None:
    """Returns the image bytes of one film, and changes nothing, whoever else reads or writes the parts.

    Args:
        posters_dir: Folder of the parts.
        imdb_id: Id of the film.

    Returns:
        None if the film has no poster, or its file is damaged, can't be read, or was replaced meanwhile.
    """
    num_parts = read_num_parts(posters_dir) or 1
    number = assign_part(imdb_id, num_parts)
    wanted = [("imdb_id", "=", imdb_id), ("status", "=", OK)]
    for part in reversed(find_lineage(posters_dir, number, num_parts)):
        for path in reversed(part.paths()):
            try:
                found = pq.read_table(open_stored(path), columns=["sha256", "content"], filters=wanted).to_pylist()
            except (OSError, RegistryError, pa.ArrowException):
                return None
            if found:
                return found[0]["content"] if is_whole(found[0]["content"], found[0]["sha256"]) else None
    return None


def _iterate_segment(part: Part, path: Path, is_wanted: NDArray[np.bool_]) -> Iterator[tuple[int, bytes]]:
    try:
        for rows in iterate_groups(path, ["imdb_id", "sha256", "content"], is_wanted):
            for imdb_id, sha256, content in zip(*(rows[name].to_pylist() for name in rows.column_names), strict=True):
                if not is_whole(content, sha256):
                    raise DamagedFileError(path, f"is damaged (the poster of {imdb_id} has another hash)")
                yield imdb_id, content
    except DamagedFileError as error:
        part.repair(path, error.problem)
        raise RepairedError(f"{error}: what is whole was kept; run again to download the rest") from error


def mark_undecodable(posters_dir: Path, hashes: Collection[str]) -> None:
    """Marks posters as failed, since TensorFlow does not decode them; their bytes are removed.

    Args:
        posters_dir: Folder of the parts.
        hashes: Hashes of the images.
    """
    for part in list_parts(posters_dir):
        for path in part.paths():
            marked = pc.is_in(read_segment(path, ["sha256"])["sha256"], pa.array(list(hashes), pa.string()))
            if pc.any(marked).as_py():
                rows = read_segment(path).to_pylist()
                part.replace({path.name}, [pa.Table.from_pylist([_mark(row, hashes) for row in rows], schema=LEDGER)])


def _mark(row: Mapping[str, Any], hashes: Collection[str]) -> dict[str, Any]:
    if row["sha256"] not in hashes:
        return dict(row)
    emptied = dict.fromkeys(("sha256", "num_bytes", "format", "width", "height", "etag", "last_modified", "content"))
    return {**row, **emptied, "status": FAILED, "reason": "not decodable"}
