"""Where posters are kept: a part has a few immutable Parquet files, its segments, and a manifest that lists them.

A segment is written once and named by its content; the manifest is replaced as a whole. So a killed process loses what
it had not written yet, a few hundred posters, and files can lie in an object store. A part's manifest is changed by one
process at a time.
"""

import contextlib
import hashlib
import itertools
import logging
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from tasks.atomic import atomic_file, write_text
from tasks.checking import DamagedFileError, parquet_damage
from tasks.errors import one_line
from tasks.hashing import describe_file
from tasks.storage.folders import StoredFile, open_stored, transfer_all

logger = logging.getLogger(__name__)

OK, FAILED = "ok", "failed"

LEDGER = pa.schema(
    [
        pa.field("imdb_id", pa.int64(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # OK or FAILED
        pa.field("reason", pa.string()),  # reason of the failure
        pa.field("attempts", pa.int16(), nullable=False),
        pa.field("http_status", pa.int16()),
        pa.field("sha256", pa.string()),  # of content, hexadecimal
        pa.field("num_bytes", pa.int32()),
        pa.field("format", pa.string()),  # jpeg or png
        pa.field("width", pa.int32()),  # pixels
        pa.field("height", pa.int32()),
        pa.field("etag", pa.string()),
        pa.field("last_modified", pa.string()),
        pa.field("seconds", pa.float32(), nullable=False),  # of all attempts
        pa.field("fetched_at", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("content", pa.large_binary()),  # image bytes as received
    ]
)

LIGHT_COLUMNS = [name for name in LEDGER.names if name != "content"]

# Posters of a segment, at most: what a killed process loses, and what its memory holds.
SEGMENT_ROWS = 256
SEGMENT_BYTES = 16_000_000
# A reader holds one row group of each segment of a part at a time.
_GROUP_ROWS = 128
_GROUP_BYTES = 4_000_000
# A part gets small segments from each run that tries failed posters again; more than this are joined.
_MAX_SMALL_SEGMENTS = 8

_REQUESTS_AT_ONCE = 16

_INFO = "ledger.json"
_VERSION: Literal[2] = 2
_PART = re.compile(r"part-(\d{5,})-of-(\d{5,})(?:-\w+\.parquet|\.json)")


class Segment(BaseModel):
    """An entry of a manifest.

    Attributes:
        name: Name of the file.
        sha256: Hash of the file, hexadecimal.
        num_bytes: Size of the file.
        num_rows: Number of its rows.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    name: str = Field(pattern=r"^part-[\w-]+\.parquet$")
    sha256: str
    num_bytes: int
    num_rows: int

    def as_stored(self) -> StoredFile:
        """Returns the description of the file in a store."""
        return StoredFile(sha256=self.sha256, num_bytes=self.num_bytes)


class _Manifest(BaseModel):
    """The content of a part's manifest."""

    segments: list[Segment]


class _Info(BaseModel):
    """The content of `ledger.json`; version 0.1 wrote it without its version."""

    model_config = ConfigDict(strict=True)

    version: Literal[1, 2] = 1
    num_parts: int = Field(ge=1, le=1 << 20)

    @field_validator("num_parts")
    @classmethod
    def _check_power_of_two(cls, num_parts: int) -> int:
        if num_parts & (num_parts - 1):
            raise ValueError("expected a power of two")
        return num_parts


class Part:
    """The segments of one part.

    Args:
        folder: Folder of all parts.
        number: Number of the part, in [0, num_parts).
        num_parts: Number of parts when it was written, a power of two.
    """

    def __init__(self, folder: Path, number: int, num_parts: int) -> None:
        self.folder = folder
        self.number = number
        self.num_parts = num_parts
        self.name = f"part-{number:05d}-of-{num_parts:05d}"

    @property
    def _manifest(self) -> Path:
        return self.folder / f"{self.name}.json"

    def segments(self) -> list[Segment]:
        """Returns the segments, oldest first; none if the part does not exist.

        A damaged or missing manifest is made again from the files of the segments.
        """
        try:
            return _Manifest.model_validate_json(self._manifest.read_bytes()).segments
        except FileNotFoundError:
            problem = "is missing"
        except ValueError as error:
            problem = f"is damaged ({one_line(error)})"
        found = sorted(self.folder.glob(f"{self.name}-*.parquet"), key=lambda path: (path.stat().st_mtime_ns, path))
        segments = [_describe(path) for path in found]
        if segments or self._manifest.exists():
            logger.warning("%s %s: made again from its segments", self._manifest, problem)
            self.list_segments(segments)
        return segments

    def paths(self) -> list[Path]:
        """Returns the paths of the segments, oldest first."""
        return [self.folder / segment.name for segment in self.segments()]

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Adds a segment with some rows, schema `LEDGER`."""
        ordered = sorted(rows, key=lambda row: int(row["imdb_id"]))
        self.replace((), [pa.Table.from_pylist(ordered, schema=LEDGER)])

    def replace(self, removed: Collection[str], tables: Sequence[pa.Table]) -> list[Path]:
        """Replaces segments, each by name, by new ones, which take the place of the first of them, or the last place.

        Args:
            removed: Names of segments of the part.
            tables: Rows of each new segment, schema `LEDGER`, in the order of ids.

        Returns:
            The paths of the new segments.
        """
        segments = self.segments()
        written = [self._write_segment(table) for table in tables if table.num_rows]
        place = next((index for index, segment in enumerate(segments) if segment.name in removed), len(segments))
        kept = [segment for segment in segments if segment.name not in removed]
        self.list_segments([*kept[:place], *written, *kept[place:]])
        for name in set(removed).difference(segment.name for segment in written):
            (self.folder / name).unlink(missing_ok=True)
        return [self.folder / segment.name for segment in written]

    def adopt(self, path: Path) -> None:
        """Lists an existing file as the part's only segment."""
        self.list_segments([_describe(path)])

    def list_segments(self, segments: Sequence[Segment]) -> None:
        """Makes these the segments of the part; their files exist, here or in the store."""
        write_text(self._manifest, _Manifest(segments=list(segments)).model_dump_json(indent=1) + "\n")

    def join_small_segments(self, select_rows: Callable[[pa.Table], pa.Table]) -> None:
        """Joins the last segments if many of them are small, as runs leave them that try failed posters again.

        Args:
            select_rows: Function from a table, schema `LEDGER`, to its rows that are still needed.
        """
        small = list(itertools.takewhile(_is_small, reversed(self.segments())))
        if len(small) <= _MAX_SMALL_SEGMENTS:
            return
        joined = pa.concat_tables([read_segment(self.folder / segment.name) for segment in reversed(small)])
        self.replace({segment.name for segment in small}, _slice(select_rows(joined).sort_by("imdb_id")))

    def repair(self, path: Path, problem: str) -> list[Path]:
        """Takes what is damaged out of a segment; the rows that are lost are no longer in the ledger.

        Args:
            path: Path of the segment.
            problem: What is wrong with it, as the predicate of a sentence, for the log.

        Returns:
            The paths of the segments that take its place.
        """
        (num_rows,) = (segment.num_rows for segment in self.segments() if segment.name == path.name)
        whole = list(_iterate_whole_rows(path))
        kept = pa.concat_tables(whole) if whole else LEDGER.empty_table()
        written = self.replace({path.name}, _slice(kept))
        logger.warning(
            "%s %s: %d of its %d rows are lost, and requested again",
            path,
            problem,
            num_rows - kept.num_rows,
            num_rows,
        )
        return written

    def _write_segment(self, table: pa.Table) -> Segment:
        content = _encode(table)
        sha256 = hashlib.sha256(content).hexdigest()
        name = f"{self.name}-{sha256[:16]}.parquet"
        segment = Segment(name=name, sha256=sha256, num_bytes=len(content), num_rows=table.num_rows)
        with atomic_file(self.folder / segment.name) as partial, partial.open("wb") as file:
            file.write(content)
        return segment


def list_parts(folder: Path) -> list[Part]:
    """Returns the parts that have files, those of smaller numbers of parts, which are older, first."""
    found = [match for path in folder.glob("part-*-of-*") if (match := _PART.fullmatch(path.name))]
    numbers = sorted({(int(match[2]), int(match[1])) for match in found})
    return [Part(folder, number, num_parts) for num_parts, number in numbers]


def remove_leftovers(folder: Path) -> None:
    """Removes files of segments that no manifest lists: a process was killed before or after it did.

    Args:
        folder: Folder of all parts; it is listed once, however many there are.
    """
    listed = {segment.name for part in list_parts(folder) for segment in part.segments()}
    for path in folder.glob("part-*-of-*-*.parquet"):
        if path.name not in listed:
            path.unlink()


def list_stored_files(folder: Path) -> dict[str, StoredFile | None]:
    """Returns the files of all parts, by name, with the descriptions of those that have one, for a store."""
    files: dict[str, StoredFile | None] = {_INFO: None} if (folder / _INFO).exists() else {}
    for part in list_parts(folder):
        segments = part.segments()
        files[f"{part.name}.json"] = None
        files |= {segment.name: segment.as_stored() for segment in segments}
    return files


def find_lineage(folder: Path, number: int, num_parts: int) -> list[Part]:
    """Returns the parts whose segments may hold rows of a part: those that it was split from, oldest first, and itself.

    When the number of parts doubles, part n is split into n and n + the former number.
    """
    counts = [1 << power for power in range(num_parts.bit_length())]
    return [Part(folder, number % count, count) for count in counts]


def read_num_parts(folder: Path) -> int | None:
    """Returns the number of parts; None if there are none yet. Poster parts of version 0.1 are taken over.

    A damaged `ledger.json` is made again from the names of the parts.
    """
    path = folder / _INFO
    try:
        info = _Info.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        logger.warning("%s is damaged (%s): made again from the parts", path, one_line(error))
        found = _find_num_parts(folder)
        if found is None:
            path.unlink()
            return None
        info = found
        write_num_parts(folder, info.num_parts)
    if info.version == 1:
        _take_over(folder, info.num_parts)
    return info.num_parts


def _find_num_parts(folder: Path) -> _Info | None:
    """Returns the number of parts by the names of their files; None if there are none."""
    if counts := [part.num_parts for part in list_parts(folder)]:
        return _Info(version=_VERSION, num_parts=max(counts))
    if numbers := [int(path.stem.removeprefix("part-")) for path in folder.glob(f"part-{'[0-9]' * 5}.parquet")]:
        return _Info(version=1, num_parts=1 << max(numbers).bit_length())
    return None


def write_num_parts(folder: Path, num_parts: int) -> None:
    """Sets the number of parts: a power of two, at least the present one."""
    write_text(folder / _INFO, _Info(version=_VERSION, num_parts=num_parts).model_dump_json() + "\n")


def _take_over(folder: Path, num_parts: int) -> None:
    """Lists the files of version 0.1, one for each part, as segments."""
    for number in range(num_parts):
        path = folder / f"part-{number:05d}.parquet"
        if path.exists():
            Part(folder, number, num_parts).adopt(path)
    write_num_parts(folder, num_parts)


def read_segment(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Returns rows of a segment, schema `LEDGER`; damaged pages are noticed by their checksums.

    Raises:
        DamagedFileError: The file is missing or damaged.
    """
    names = list(columns or LEDGER.names)
    with parquet_damage(path):
        source = open_stored(path) if "content" in names else _find_ledger_copy(path) or open_stored(path)
        rows = pq.read_table(source, columns=names, page_checksum_verification=True)
        return rows.cast(pa.schema([LEDGER.field(name) for name in names]))


def copy_ledger(folder: Path) -> None:
    """Copies all columns but the posters of the segments that are in a store alone, beside the folder.

    A run reads them several times, and a request takes longer than the reading. Copies of segments that are no longer
    listed are removed.

    Args:
        folder: Folder of all parts.

    Raises:
        StoreError: The store can't be read.
    """
    paths = [path for part in list_parts(folder) for path in part.paths() if not path.exists()]
    copies = {_ledger_copies(folder) / path.name: path for path in paths}
    for outdated in set(_ledger_copies(folder).glob("*.parquet")).difference(copies):
        outdated.unlink()
    missing = [path for copy, path in copies.items() if not copy.exists()]
    transfer_all(_copy_ledger, missing, _REQUESTS_AT_ONCE)


def _copy_ledger(path: Path) -> None:
    with contextlib.suppress(DamagedFileError):  # whoever reads the segment repairs it
        rows = read_segment(path, LIGHT_COLUMNS)
        with atomic_file(_ledger_copies(path.parent) / path.name) as partial:
            pq.write_table(rows, partial, write_page_checksum=True)


def _ledger_copies(folder: Path) -> Path:
    """Returns the folder of the copies that `copy_ledger` makes of the segments of a folder."""
    return folder.with_name(f".{folder.name}-ledger")


def _find_ledger_copy(path: Path) -> Path | None:
    copy = _ledger_copies(path.parent) / path.name
    return copy if copy.exists() and not path.exists() else None


def iterate_groups(path: Path, columns: Sequence[str], is_wanted: NDArray[np.bool_]) -> Iterator[pa.Table]:
    """Yields some rows of a segment, one row group at a time.

    Args:
        path: Path of the segment.
        columns: Names of the columns.
        is_wanted: Whether each row is yielded, shape `(num_rows,)`.

    Raises:
        DamagedFileError: The file is missing or damaged.
    """
    with parquet_damage(path), _open(path) as file:
        start = 0
        for group in range(file.num_row_groups):
            stop = start + file.metadata.row_group(group).num_rows
            if is_wanted[start:stop].any():
                yield file.read_row_group(group, list(columns)).filter(pa.array(is_wanted[start:stop]))
            start = stop


def _is_small(segment: Segment) -> bool:
    return segment.num_rows < SEGMENT_ROWS // 4 and segment.num_bytes < SEGMENT_BYTES // 4


def is_whole(content: bytes | None, sha256: str | None) -> bool:
    """Returns whether the bytes of a poster are those that its row describes; a failed one has neither."""
    return content is None if sha256 is None else content is not None and hashlib.sha256(content).hexdigest() == sha256


def _iterate_whole_rows(path: Path) -> Iterator[pa.Table]:
    """Yields the rows of a damaged segment that can be read and whose posters have their hash."""
    try:
        with parquet_damage(path):
            file = _open(path)
    except DamagedFileError:
        return
    with file:
        for group in range(file.num_row_groups):
            with contextlib.suppress(DamagedFileError), parquet_damage(path):
                rows = file.read_row_group(group).select(LEDGER.names).cast(LEDGER)
                pairs = zip(rows["content"].to_pylist(), rows["sha256"].to_pylist(), strict=True)
                yield rows.filter(pa.array([is_whole(content, sha256) for content, sha256 in pairs], pa.bool_()))


def _open(path: Path) -> pq.ParquetFile:
    # Buffered before: of an object of a store, one range of each row group is requested.
    return pq.ParquetFile(open_stored(path), page_checksum_verification=True, pre_buffer=True)


def _describe(path: Path) -> Segment:
    try:
        num_rows = pq.read_metadata(path).num_rows
    except pa.ArrowException:
        num_rows = 0  # damaged: whoever reads it repairs it
    return Segment(name=path.name, num_rows=num_rows, **describe_file(path))


def _encode(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    # Posters are compressed already.
    with pq.ParquetWriter(sink, LEDGER, compression="none", use_dictionary=False, write_page_checksum=True) as writer:
        for group in _slice(table, _GROUP_ROWS, _GROUP_BYTES):
            writer.write_table(group)
    return sink.getvalue()


def _slice(table: pa.Table, max_rows: int = SEGMENT_ROWS, max_bytes: int = SEGMENT_BYTES) -> list[pa.Table]:
    """Returns the rows in tables of at most some rows and bytes of posters, or one row."""
    slices, start, size = [], 0, 0
    for row, num_bytes in enumerate(table["num_bytes"].to_pylist()):
        if row > start and (row - start == max_rows or size + (num_bytes or 0) > max_bytes):
            slices.append(table.slice(start, row - start))
            start, size = row, 0
        size += num_bytes or 0
    return [*slices, table.slice(start)]
