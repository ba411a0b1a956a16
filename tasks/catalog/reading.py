"""Read MovieGenre.csv, or another CSV of films, as text columns: a path, an http(s) address or an object in a store."""

import csv
import hashlib
import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import fsspec
import pyarrow as pa
import pyarrow.csv
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from tasks.catalog.content import Content, iterate_chunks, release, store
from tasks.catalog.encoding import as_utf8
from tasks.catalog.records import Records, Window, find_header_end, scan_records
from tasks.errors import CatalogError, one_line
from tasks.settings import CATALOG_MAX_BYTES
from tasks.storage.filesystems import list_filesystem_errors
from tasks.web.addresses import redact
from tasks.web.client import Client, RequestError, copy_address

COLUMNS = ("imdbId", "Imdb Link", "Title", "IMDB Score", "Genre", "Poster")
_EXPECTED = "expected the path of a CSV file, or its address (http(s), s3, gs or another that fsspec knows)"
_CONNECT_TIMEOUT_SECONDS = 10
_HTTP_SECONDS = 300
_HTTP_ATTEMPTS = 4
_BACKOFF_SECONDS = 0.5
_HTTP_ADVICE = {
    "private address": "; name its host in posters.allow_private_hosts if you trust it",
    "address with credentials": "; download the file and name its path",
    "no length announced": ", so that a file cut short would look like a whole one; download the file and name "
    "its path",
}
_MIN_BLOCK_BYTES = 1 << 20
_COPY_BYTES = 1 << 22


@dataclass(frozen=True)
class Rows:
    """The rows of a catalog.

    Attributes:
        source: Path or address of the file, for messages.
        columns: The columns that were asked for.
        sha256: Hash of the file as it was read, hexadecimal.
    """

    source: str
    columns: tuple[str, ...]
    sha256: str
    _content: Content
    _names: tuple[str, ...]
    _records: Records

    @property
    def number(self) -> int:
        """Number of rows in the file, counted apart from the parser; blank lines are none."""
        return self._records.number

    @property
    def num_malformed(self) -> int:
        """Number of rows that `tables` lack since their number of fields differs from the header's."""
        return self._records.num_malformed

    @property
    def malformed_lines(self) -> tuple[int, ...]:
        """Line numbers of the first of these rows; the file's first line, the header, is 1."""
        return self._records.malformed_lines

    @cached_property
    def table(self) -> pa.Table:
        """All rows: the columns that were asked for, as strings."""
        return pa.concat_tables([self._schema.empty_table(), *map(self._parse, self._records.windows)])

    @property
    def _schema(self) -> pa.Schema:
        return pa.schema([(name, pa.string()) for name in self.columns])

    def iterate_tables(self) -> Iterator[pa.Table]:
        """Yields all rows, a few hundred thousand at a time; they are parsed anew unless they are few.

        Raises:
            CatalogError: The file can't be parsed.
        """
        if len(self._records.windows) < 2:
            yield self.table
            return
        for window in self._records.windows:
            yield self._parse(window)
            release(self._content)

    def _parse(self, window: Window) -> pa.Table:
        num_skipped = 0

        def skip(_: pyarrow.csv.InvalidRow) -> str:
            nonlocal num_skipped
            num_skipped += 1
            return "skip"

        try:
            table = pyarrow.csv.read_csv(
                pa.BufferReader(pa.py_buffer(self._content).slice(window.start, window.stop - window.start)),
                # The names as given to `read_rows`: in the header may be spaces around them. A row must fit into a
                # block.
                read_options=pyarrow.csv.ReadOptions(
                    column_names=self._names, block_size=max(_MIN_BLOCK_BYTES, self._records.longest_bytes + 1)
                ),
                parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=self._schema, include_columns=self.columns, strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid as error:
            raise CatalogError(
                f"{self.source} can't be read as CSV: {one_line(error)}; expected the columns "
                f"{', '.join(self.columns)}, separated by commas"
            ) from error
        if (table.num_rows + num_skipped, num_skipped) != (window.number, window.num_malformed):
            raise RuntimeError(
                f"{self.source} has {window.number} rows, {window.num_malformed} of them malformed, of which "
                f"{table.num_rows} were read and {num_skipped} skipped: this is a bug of the reader"
            )
        return table


def read_rows(
    source: str,
    required: Sequence[str] = COLUMNS,
    optional: Sequence[str] = (),
    private_hosts: Collection[str] = (),
    *,
    max_bytes: int = CATALOG_MAX_BYTES,
) -> Rows:
    """Reads the rows of a MovieGenre.csv.

    The encoding is detected, see `tasks.catalog.encoding`.

    Args:
        source: Path or address of the file: local, http(s), or any other address that fsspec and the packages installed
            beside it know.
        required: Names of the columns that the file must have.
        optional: Names of the columns that are read if the file has them.
        private_hosts: Hosts that may have private addresses, `posters.allow_private_hosts`.
        max_bytes: Maximum size of the file.

    Raises:
        CatalogError: The file can't be read, is too large, is empty, is no CSV, lacks a required column, mixes
            encodings, has an unbalanced quote, or ends within a row. What else the parser refuses, it refuses where
            the rows are taken.
    """
    content = _fetch(source, max_bytes, private_hosts)
    digest = hashlib.sha256()
    is_blank, has_zero = True, False
    for chunk in iterate_chunks(content):
        digest.update(chunk)
        is_blank = is_blank and chunk.isspace()
        has_zero = has_zero or b"\0" in chunk
    source = redact(source)  # from here on, it is for messages
    if is_blank:
        raise CatalogError(f"{source} is empty: expected a CSV file with the columns {', '.join(required)}")
    if has_zero:
        raise CatalogError(
            f"{source} is no CSV: it has zero bytes; expected text with the columns {', '.join(required)}"
        )
    content = as_utf8(content, source)
    names, body_start = _read_header(source, content, required)
    columns = (*required, *(name for name in optional if name in names))
    indices = {name: names.index(name) for name in columns}
    records = scan_records(content, body_start, indices, len(names), source)
    rows = Rows(source, columns, digest.hexdigest(), content, tuple(names), records)
    if len(records.windows) < 2:
        _ = rows.table  # which is kept, so that a file that can't be parsed is refused here
    return rows


def is_address(source: str) -> bool:
    """Returns whether `source` is an address, such as `s3://bucket/MovieGenre.csv`, and not a local path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", source) is not None


def _fetch(source: str, max_bytes: int, private_hosts: Collection[str]) -> Content:
    """Returns a copy of a file.

    Args:
        source: Local path, http(s) address, or any other address that fsspec and the packages installed beside it
            know. Credentials come from the environment, as those packages read them.
        max_bytes: Maximum size of the file.
        private_hosts: Hosts that may have private addresses.

    Raises:
        CatalogError: If the file can't be read, or is larger.
    """
    if source.startswith(("http://", "https://")):
        return _fetch_http(source, max_bytes, private_hosts)
    if is_address(source):
        return _fetch_object(source, max_bytes)
    try:
        with Path(source).open("rb") as file:
            return _copy_bounded(file, os.fstat(file.fileno()).st_size, max_bytes, source)
    except OSError as error:
        raise CatalogError(f"{source} can't be read: {error.strerror}; {_EXPECTED}") from error


def _copy_bounded(source_file: IO[bytes], size: int | None, max_bytes: int, source: str) -> Content:
    """Returns the content of a file.

    Args:
        source_file: The file, at its start.
        size: Size in bytes as its filesystem states it; None if it is not known. A file may grow, and a device or a
            pipe has none.
        max_bytes: Maximum size in bytes.
        source: Path or address of the file, for messages.
    """

    def copy(file: IO[bytes]) -> None:
        num_bytes = size or 0
        if num_bytes <= max_bytes:
            num_bytes = 0
            # The last read returns nothing, where the file ends.
            while num_bytes <= max_bytes and (part := source_file.read(min(_COPY_BYTES, max_bytes + 1 - num_bytes))):
                file.write(part)
                num_bytes += len(part)
        if num_bytes > max_bytes:
            raise CatalogError(
                f"{source} is larger than {max_bytes:,} bytes: expected a catalog of at most that size "
                "(catalog.max_bytes)"
            )

    return store(copy)


def _fetch_http(address: str, max_bytes: int, private_hosts: Collection[str]) -> Content:
    # Not by fsspec, whose HTTP client has neither these rules nor the retries and the time limit.
    client = Client(1, _CONNECT_TIMEOUT_SECONDS, private_hosts)
    retrying = Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, RequestError) and error.is_transient),
        stop=stop_after_attempt(_HTTP_ATTEMPTS),
        wait=wait_random_exponential(multiplier=_BACKOFF_SECONDS),
        reraise=True,
    )
    try:
        return store(
            lambda file: retrying(
                copy_address, address, file, max_bytes=max_bytes, seconds=_HTTP_SECONDS, client=client
            )
        )
    except RequestError as error:
        raise CatalogError(
            f"{redact(address)} can't be read: {error.reason}{_HTTP_ADVICE.get(error.reason, '')}"
        ) from error


def _fetch_object(address: str, max_bytes: int) -> Content:
    try:
        filesystem, path = _find_object(address)
        size = filesystem.info(path).get("size")
        with filesystem.open(path, "rb") as file:
            content = _copy_bounded(file, size, max_bytes, address)
    except list_filesystem_errors() as error:
        raise _reading_error(address, error) from error
    if size is not None and len(content) < size:
        raise CatalogError(
            f"{address} was cut short: {len(content):,} bytes of {size:,} were received; expected the whole file: "
            "run it again"
        )
    return content


def _find_object(address: str) -> tuple[Any, str]:
    """Returns the filesystem of an address, and the path in it."""
    try:
        filesystem, path = fsspec.core.url_to_fs(address)
    except (ImportError, TypeError) as error:
        # A package that is not installed; an address without a part that its filesystem requires.
        raise _reading_error(address, error) from error
    return filesystem, path


def _reading_error(address: str, error: Exception) -> CatalogError:
    # The message of fsspec's FileNotFoundError is often the path alone.
    message = "no such file" if isinstance(error, FileNotFoundError) else one_line(error)
    return CatalogError(f"{address} can't be read: {message}; {_EXPECTED}")


def _read_header(source: str, content: Content, required: Sequence[str]) -> tuple[list[str], int]:
    """Returns the names of the columns, without spaces around them, and the offset of the first row."""
    end = find_header_end(content)
    if end is None:
        raise CatalogError(
            f"{source}, row 1: the header has no end, or has an unbalanced quote; expected {', '.join(required)}"
        )
    header = content[:end].decode("utf-8").rstrip("\r\n")
    try:
        found = [name.strip() for name in next(csv.reader([header], skipinitialspace=True), [])]
    except csv.Error as error:
        raise CatalogError(
            f"{source}, row 1: the header can't be read: {error}; expected {', '.join(required)}"
        ) from error
    missing = [name for name in required if name not in found]
    if missing:
        raise CatalogError(
            f"{source} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}: "
            f"expected {', '.join(required)}, found {header[:120]!r}"
        )
    if repeated := [name for name in required if found.count(name) > 1]:
        raise CatalogError(f"{source} has several columns {', '.join(repeated)}: expected each once")
    return found, end
