"""Read MovieGenre.csv as text columns, from a path, an http(s) address or an object store."""

import codecs
import csv
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.csv
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from tasks.errors import CatalogError
from tasks.filesystems import list_filesystem_errors
from tasks.web.addresses import redact
from tasks.web.client import Client, RequestError, read_address

COLUMNS = ("imdbId", "Imdb Link", "Title", "IMDB Score", "Genre", "Poster")
_EXPECTED = "expected the path of MovieGenre.csv, or its address (http(s), s3, gs or another that fsspec knows)"
_CONNECT_TIMEOUT_SECONDS = 10
_HTTP_SECONDS = 300
_HTTP_ATTEMPTS = 4
_BACKOFF_SECONDS = 0.5
_MAX_BYTES = 1_000_000_000
_HTTP_ADVICE = {
    "private address": "; name its host in posters.allow_private_hosts if you trust it",
    "address with credentials": "; download the file and name its path (--catalog)",
    "no length announced": ", so that a file cut short could not be told from a whole one; download the file and name "
    "its path (--catalog)",
}
_MAX_HEADER_BYTES = 64 * 1024


def read_rows(
    source: str,
    required: Sequence[str] = COLUMNS,
    optional: Sequence[str] = (),
    private_hosts: Collection[str] = (),
) -> tuple[pa.Table, int]:
    """Reads the rows of a MovieGenre.csv.

    The encoding is detected: UTF-8, with or without a byte-order mark, if the bytes are valid UTF-8, otherwise
    ISO-8859-1, the published file's.

    Args:
        source: Path or address of the file, as in `read_bytes`.
        required: Names of the columns that the file must have.
        optional: Names of the columns that are read if the file has them.
        private_hosts: Hosts that may have private addresses, `posters.allow_private_hosts`.

    Returns:
        These columns as strings, without any others; and the number of malformed rows, which are left out: those whose
        number of fields differs from the header's.

    Raises:
        CatalogError: If the file can't be read, is empty, is no CSV, or lacks a required column.
    """
    content = read_bytes(source, private_hosts)
    if not content.strip():
        raise CatalogError(f"{source} is empty: expected a CSV file with the columns {', '.join(required)}")
    if b"\0" in content:
        raise CatalogError(
            f"{source} is no CSV: it has zero bytes; expected text with the columns {', '.join(required)}"
        )
    names = _read_header(source, content, required)
    columns = [*required, *(name for name in optional if name in names)]
    malformed = 0

    def skip(_: pyarrow.csv.InvalidRow) -> str:
        nonlocal malformed
        malformed += 1
        return "skip"

    try:
        rows = pyarrow.csv.read_csv(
            pa.BufferReader(_as_utf8(content)),
            # The stripped names: the header may have spaces around them.
            read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=1),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()), include_columns=columns, strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise CatalogError(f"{source} can't be read as CSV: {error}") from error
    return rows, malformed


def is_address(source: str) -> bool:
    """Returns whether `source` is an address, such as `s3://bucket/MovieGenre.csv`, and not a local path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", source) is not None


def read_bytes(source: str, private_hosts: Collection[str] = ()) -> bytes:
    """Returns the content of a file.

    Args:
        source: Local path, http(s) address, or any other address that fsspec and the packages installed beside it
            know. Credentials come from the environment, as those packages read them.
        private_hosts: Hosts that may have private addresses.

    Raises:
        CatalogError: If the file can't be read.
    """
    if source.startswith(("http://", "https://")):
        return _read_http(source, private_hosts)
    if is_address(source):
        return _read_object(source)
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise CatalogError(
            f"the catalog can't be read from {source}: {error.strerror}; {_EXPECTED} (--catalog)"
        ) from error


def _read_http(address: str, private_hosts: Collection[str]) -> bytes:
    # Not by fsspec, whose HTTP client has neither these rules nor the retries and the time limit.
    client = Client(1, _CONNECT_TIMEOUT_SECONDS, private_hosts)
    try:
        retrying = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, RequestError) and error.is_transient),
            stop=stop_after_attempt(_HTTP_ATTEMPTS),
            wait=wait_random_exponential(multiplier=_BACKOFF_SECONDS),
            reraise=True,
        )
        return retrying(read_address, address, max_bytes=_MAX_BYTES, seconds=_HTTP_SECONDS, client=client)
    except RequestError as error:
        raise CatalogError(
            f"the catalog can't be read from {redact(address)}: {error.reason}{_HTTP_ADVICE.get(error.reason, '')}"
        ) from error


def _read_object(address: str) -> bytes:
    try:
        filesystem, path = _find_object(address)
        return bytes(filesystem.cat_file(path))
    except list_filesystem_errors() as error:
        raise _reading_error(address, error) from error


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
    message = "no such file" if isinstance(error, FileNotFoundError) else " ".join(str(error).split())
    return CatalogError(
        f"the catalog can't be read from {address}: {message or type(error).__name__}; {_EXPECTED} (--catalog)"
    )


def _as_utf8(content: bytes) -> bytes:
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("iso-8859-1").encode("utf-8")
    return content


def _read_header(source: str, content: bytes, required: Sequence[str]) -> list[str]:
    header = _as_utf8(content[:_MAX_HEADER_BYTES].splitlines()[0]).decode("utf-8")
    found = [name.strip() for name in next(csv.reader([header], skipinitialspace=True), [])]
    missing = [name for name in required if name not in found]
    if missing:
        raise CatalogError(
            f"{source} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}: "
            f"expected {', '.join(required)}, found {header[:120]!r}"
        )
    return found
