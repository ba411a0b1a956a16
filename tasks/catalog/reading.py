"""Read MovieGenre.csv as it is: text columns only, from a path or an http(s) address."""

import codecs
import csv
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from tasks.errors import CatalogError

COLUMNS = ("imdbId", "Imdb Link", "Title", "IMDB Score", "Genre", "Poster")
_ADDRESS_TIMEOUT_SECONDS = 30
_MAX_HEADER_BYTES = 64 * 1024
_RETRY = Retry(total=3, backoff_factor=1.0, backoff_jitter=0.5, status_forcelist=(429, 500, 502, 503, 504))


def read_rows(source: str, required: Sequence[str] = COLUMNS, optional: Sequence[str] = ()) -> tuple[pa.Table, int]:
    """Reads the rows of a MovieGenre.csv.

    The encoding is found out: UTF-8 with or without a byte-order mark where the bytes are UTF-8, ISO-8859-1 (the
    published file's) otherwise.

    Args:
        source: path or http(s) address.
        required: the columns it must have.
        optional: the columns that are read if it has them.

    Returns:
        These columns as strings, others left out; and the number of rows that were left out because they do not have
        as many fields as the header.

    Raises:
        CatalogError: if there is no such file, it is empty, no CSV, or lacks a column.
    """
    content = read_bytes(source)
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
            # The names as they were checked, not as they stand there: with spaces around them, say.
            read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=1),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()), include_columns=columns, strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise CatalogError(f"{source} can't be read as CSV: {error}") from error
    return rows, malformed


def read_bytes(source: str) -> bytes:
    """Returns the bytes at a path or an http(s) address; raises `CatalogError` where there are none to be had."""
    if source.startswith(("http://", "https://")):
        try:
            with requests.Session() as session:
                session.mount("http://", HTTPAdapter(max_retries=_RETRY))
                session.mount("https://", HTTPAdapter(max_retries=_RETRY))
                response = session.get(source, timeout=_ADDRESS_TIMEOUT_SECONDS)
                response.raise_for_status()
        except requests.RequestException as error:
            raise CatalogError(f"the catalog can't be read from {source}: {error}") from error
        return response.content
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise CatalogError(
            f"the catalog can't be read from {source}: {error.strerror}; expected the path or http(s) address of "
            "MovieGenre.csv (--catalog)"
        ) from error


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
