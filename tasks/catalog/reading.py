"""Read MovieGenre.csv, or another CSV of films, as text columns: a path, an http(s) address or an object in a store."""

import csv
import hashlib
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
import pyarrow.csv
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from tasks.catalog.encoding import as_utf8
from tasks.catalog.records import Records, find_header_end, scan_records
from tasks.errors import CatalogError, one_line
from tasks.settings import CATALOG_MAX_BYTES
from tasks.storage.filesystems import list_filesystem_errors
from tasks.web.addresses import redact
from tasks.web.client import Client, RequestError, read_address

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


@dataclass(frozen=True)
class Rows:
    """The rows of a catalog.

    Attributes:
        table: The columns that were asked for, as strings.
        number: Number of rows in the file, counted apart from the parser; blank lines are none.
        num_malformed: Number of rows that `table` lacks since their number of fields differs from the header's.
        malformed_lines: Line numbers of the first of these rows; the file's first line, the header, is 1.
        sha256: Hash of the file as it was read, hexadecimal.
    """

    table: pa.Table
    number: int
    num_malformed: int
    malformed_lines: tuple[int, ...]
    sha256: str


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
        source: Path or address of the file, as in `read_bytes`.
        required: Names of the columns that the file must have.
        optional: Names of the columns that are read if the file has them.
        private_hosts: Hosts that may have private addresses, `posters.allow_private_hosts`.
        max_bytes: Maximum size of the file.

    Raises:
        CatalogError: The file can't be read, is too large, is empty, is no CSV, lacks a required column, mixes
            encodings, has an unbalanced quote, or ends within a row.
    """
    content = read_bytes(source, max_bytes, private_hosts)
    sha256 = hashlib.sha256(content).hexdigest()
    source = redact(source)  # from here on, it is for messages
    if not content or content.isspace():
        raise CatalogError(f"{source} is empty: expected a CSV file with the columns {', '.join(required)}")
    if b"\0" in content:
        raise CatalogError(
            f"{source} is no CSV: it has zero bytes; expected text with the columns {', '.join(required)}"
        )
    content = as_utf8(content, source)
    names, body_start = _read_header(source, content, required)
    columns = [*required, *(name for name in optional if name in names)]
    indices = {name: names.index(name) for name in columns}
    records = scan_records(content, body_start, indices, len(names), source)
    table, num_skipped = _parse(source, content, body_start, names, columns, records)
    if (table.num_rows + num_skipped, num_skipped) != (records.number, records.num_malformed):
        raise RuntimeError(
            f"{source} has {records.number} rows, {records.num_malformed} of them malformed, of which {table.num_rows} "
            f"were read and {num_skipped} skipped: this is a bug of the reader"
        )
    return Rows(table, records.number, records.num_malformed, records.malformed_lines, sha256)


def _parse(
    source: str, content: bytes, body_start: int, names: Sequence[str], columns: Sequence[str], records: Records
) -> tuple[pa.Table, int]:
    """Returns the columns of the rows behind the header, and the number of rows with another number of fields."""
    schema = pa.schema([(name, pa.string()) for name in columns])
    if not records.number:
        return schema.empty_table(), 0
    num_skipped = 0

    def skip(_: pyarrow.csv.InvalidRow) -> str:
        nonlocal num_skipped
        num_skipped += 1
        return "skip"

    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(pa.py_buffer(content).slice(body_start)),
            # The names as given to this function: in the header may be spaces around them. A row must fit into a block.
            read_options=pyarrow.csv.ReadOptions(
                column_names=names, block_size=max(_MIN_BLOCK_BYTES, records.longest_bytes + 1)
            ),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=schema, include_columns=columns, strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        columns = ", ".join(schema)
        raise CatalogError(
            f"{source} can't be read as CSV: {one_line(error)}; expected the columns {columns}, separated by commas"
        ) from error
    return table, num_skipped


def is_address(source: str) -> bool:
    """Returns whether `source` is an address, such as `s3://bucket/MovieGenre.csv`, and not a local path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", source) is not None


def read_bytes(source: str, max_bytes: int, private_hosts: Collection[str] = ()) -> bytes:
    """Returns the content of a file.

    Args:
        source: Local path, http(s) address, or any other address that fsspec and the packages installed beside it
            know. Credentials come from the environment, as those packages read them.
        max_bytes: Maximum size of the file.
        private_hosts: Hosts that may have private addresses.

    Raises:
        CatalogError: If the file can't be read, or is larger.
    """
    if source.startswith(("http://", "https://")):
        return _read_http(source, max_bytes, private_hosts)
    if is_address(source):
        return _read_object(source, max_bytes)
    try:
        with Path(source).open("rb") as file:
            return _read_bounded(file, os.fstat(file.fileno()).st_size, max_bytes, source)
    except OSError as error:
        raise CatalogError(f"{source} can't be read: {error.strerror}; {_EXPECTED}") from error


def _read_bounded(file: BinaryIO, size: int | None, max_bytes: int, source: str) -> bytes:
    """Returns the content of a file.

    Args:
        file: The file, at its start.
        size: Size in bytes as its filesystem states it; None if it is not known. A file may grow, and a device or a
            pipe has none.
        max_bytes: Maximum size in bytes.
        source: Path or address of the file, for messages.
    """
    stated = size or 0
    parts: list[bytes] = []
    num_bytes = 0
    # The last read returns nothing, where the file ends.
    while stated <= max_bytes and num_bytes <= max_bytes:
        part = file.read(min(max(stated, _MIN_BLOCK_BYTES), max_bytes + 1 - num_bytes))
        if not part:
            return parts[0] if len(parts) == 1 else b"".join(parts)
        parts.append(part)
        num_bytes += len(part)
    raise CatalogError(
        f"{source} is larger than {max_bytes:,} bytes: expected a catalog of at most that size (catalog.max_bytes)"
    )


def _read_http(address: str, max_bytes: int, private_hosts: Collection[str]) -> bytes:
    # Not by fsspec, whose HTTP client has neither these rules nor the retries and the time limit.
    client = Client(1, _CONNECT_TIMEOUT_SECONDS, private_hosts)
    try:
        retrying = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, RequestError) and error.is_transient),
            stop=stop_after_attempt(_HTTP_ATTEMPTS),
            wait=wait_random_exponential(multiplier=_BACKOFF_SECONDS),
            reraise=True,
        )
        return retrying(read_address, address, max_bytes=max_bytes, seconds=_HTTP_SECONDS, client=client)
    except RequestError as error:
        raise CatalogError(
            f"{redact(address)} can't be read: {error.reason}{_HTTP_ADVICE.get(error.reason, '')}"
        ) from error


def _read_object(address: str, max_bytes: int) -> bytes:
    try:
        filesystem, path = _find_object(address)
        size = filesystem.info(path).get("size")
        with filesystem.open(path, "rb") as file:
            content = _read_bounded(file, size, max_bytes, address)
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


def _read_header(source: str, content: bytes, required: Sequence[str]) -> tuple[list[str], int]:
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
