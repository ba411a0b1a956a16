"""Find the records of a CSV in its bytes, apart from the parser: count them, and refuse unbalanced quotes.

The grammar is that of pyarrow's parser: a field is quoted if a quote is its first byte; within it a doubled quote is
one quote, and another ends the quoting; any other quote is text; empty lines are no records. A line ends with CR, LF
or CRLF.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from tasks.catalog.content import Content, iterate_chunks, release
from tasks.errors import CatalogError

_QUOTE, _COMMA, _LF, _CR = b'",\n\r'
_CHUNK_BYTES = 1 << 20  # bounds the memory of a pass, whatever the bytes are
_MAX_HEADER_BYTES = 1 << 16
_NUM_EXAMPLES = 10
# Of the rows that are parsed at a time; in a catalog of 40,000 films, all.
_WINDOW_BYTES = 1 << 26
# A quoted field that has taken in rows shows one in its first lines.
_MAX_SEARCHED_LINES = 1000
_EXCERPT_BYTES = 30

# Values that only a row of its own has, by column.
_TELLING_VALUES = {
    "imdbId": re.compile(rb"[0-9]+"),
    "Poster": re.compile(rb'https?://[^\s"]+|[^"]+\.(?:jpg|jpeg|png)', re.IGNORECASE),
}


@dataclass(frozen=True)
class Window:
    """Some whole records of a CSV, one after the other.

    Attributes:
        start: Offset of the first one.
        stop: Offset behind the last one.
        number: Number of records.
        num_malformed: Number of those whose number of fields differs from the header's.
    """

    start: int
    stop: int
    number: int
    num_malformed: int


@dataclass(frozen=True)
class Records:
    """The records in a part of a CSV.

    Attributes:
        windows: All of them, some megabytes at a time.
        malformed_lines: Line numbers of the first malformed ones, the file's first line is 1.
        longest_bytes: Size of the longest record, with its line end.
    """

    windows: tuple[Window, ...]
    malformed_lines: tuple[int, ...]
    longest_bytes: int

    @property
    def number(self) -> int:
        """Number of records."""
        return sum(window.number for window in self.windows)

    @property
    def num_malformed(self) -> int:
        """Number of records whose number of fields differs from the header's."""
        return sum(window.num_malformed for window in self.windows)


def find_header_end(content: Content) -> int | None:
    """Returns the offset behind the line end of the first record; None if it has none in its first 64 KiB."""
    is_quoted, field_start, last_close = False, 0, -2
    for match in re.finditer(rb'[",\r\n]', content[:_MAX_HEADER_BYTES]):
        position, byte = match.start(), match[0]
        if byte == b'"':
            if is_quoted:
                is_quoted, last_close = False, position
            elif position in (field_start, last_close + 1):
                is_quoted = True
        elif not is_quoted:
            field_start = position + 1
            if byte != b",":
                return position + 1 + (byte == b"\r" and content[position + 1 : position + 2] == b"\n")
    return None if is_quoted or len(content) > _MAX_HEADER_BYTES else len(content)


def scan_records(content: Content, start: int, columns: Mapping[str, int], num_columns: int, source: str) -> Records:
    """Counts the records of a CSV.

    Args:
        content: The CSV, in UTF-8 or another encoding whose ASCII bytes are ASCII characters.
        start: Offset of the first record to count, behind the header.
        columns: Index of each column that is read, by name.
        num_columns: Number of fields of the header.
        source: Path or address of the CSV, for messages.

    Raises:
        CatalogError: A quoted field is not closed, or spans lines and has taken in rows; or the last row is cut short.
    """
    scan = _Scan(content, start, num_columns)
    telling = {columns[name]: values for name, values in _TELLING_VALUES.items() if name in columns}
    while scan.position < len(content):
        for field in scan.read_chunk(len(content)):
            if problem := _find_problem(content, field, telling, num_columns):
                raise _unbalanced(content, field.open_at, problem, source)
        release(content)
    if scan.is_quoted:
        raise _unbalanced(content, scan.field.open_at, "the file ends within the field", source)
    scan.finish()
    if scan.cut_at is not None:
        raise CatalogError(
            f"{source}, {name_row(content, scan.cut_at)}: the file ends within this row, which has "
            f"{scan.cut_fields} of {num_columns} fields and no line end; expected the whole file: fetch it again"
        )
    return scan.records()


def name_row(content: Content, offset: int) -> str:
    """Returns the row of a byte: `row 12`, its line number, the header is 1; `row 12 (record 10)` if these differ.

    They differ behind quoted line ends and blank lines.
    """
    line = _line_number(content, offset)
    header_end = find_header_end(content)
    if header_end is None or offset < header_end:
        return f"row {line}"
    scan = _Scan(content, header_end, 1)
    while scan.position < offset:
        scan.read_chunk(offset)
    record = 2 + scan.number
    return f"row {line}" if line == record else f"row {line} (record {record})"


def _unbalanced(content: Content, open_at: int, problem: str, source: str) -> CatalogError:
    text = content[open_at : open_at + _EXCERPT_BYTES].split(b"\n")[0].decode("utf-8", errors="replace").strip()
    return CatalogError(
        f"{source}, {name_row(content, open_at)}: unbalanced quote at {text!r}: {problem}; "
        "expected a quoted field to end with a quote, and quotes in its text to be doubled"
    )


@dataclass(frozen=True)
class _Field:
    """A quoted field that spans lines: offsets of its quotes, and of the start of the line of the first."""

    open_at: int
    close_at: int
    line_start: int


def _find_problem(
    content: Content, field: _Field, telling: Mapping[int, re.Pattern[bytes]], num_columns: int
) -> str | None:
    """Returns what shows that a quoted field with line ends is no field; None if it may be one."""
    if content[field.close_at + 1 : field.close_at + 2] not in (b"", b",", b"\r", b"\n"):
        return f"the next quote, in {name_row(content, field.close_at)}, is within a text"
    line_end = re.compile(rb"[\r\n]|\Z").search(content, field.close_at)
    assert line_end is not None
    lines = re.compile(rb"[^\r\n]+").finditer(content, field.line_start, line_end.start())
    for line in islice(lines, _MAX_SEARCHED_LINES):
        if line[0].count(b",") != num_columns - 1:
            continue
        values = line[0].split(b",")
        # The columns that the field has taken in from this line, without its own.
        first = content[line.start() : field.open_at].count(b",") + 1 if line.start() <= field.open_at else 0
        end = content[line.start() : field.close_at].count(b",") if line.end() > field.close_at else num_columns
        is_row = all(pattern.fullmatch(values[column].strip(b' "')) for column, pattern in telling.items())
        if is_row and any(first <= column < end for column in telling):
            return f"the field takes in values of other columns, in line {_line_number(content, line.start())}"
    return None


def _line_number(content: Content, offset: int) -> int:
    number, previous = 1, b""
    for chunk in iterate_chunks(content, 0, offset):
        number += chunk.count(b"\n") + chunk.count(b"\r") - (previous + chunk).count(b"\r\n")
        previous = chunk[-1:]
    return number


def _have_any(offsets: NDArray[np.intp], starts: NDArray[np.intp], ends: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Returns which ranges have at least one of some ascending offsets, shape `(num_ranges,)`."""
    has_any: NDArray[np.bool_] = np.searchsorted(offsets, starts) < np.searchsorted(offsets, ends)
    return has_any


class _Scan:
    """A pass over the bytes of a CSV, a chunk at a time.

    Attributes:
        position: Offset up to which bytes were read.
        number: Number of complete records.
        is_quoted: Whether `position` is within a quoted field, which is `field`.
        cut_at: Offset of a last record that has no line end and too few fields, `cut_fields`; None if there is none.
    """

    def __init__(self, content: Content, start: int, num_columns: int) -> None:
        self._content = content
        self._bytes = np.frombuffer(content, np.uint8)
        self._num_columns = num_columns
        self.position = start
        self.number = 0
        self.is_quoted = False
        self.field = _Field(start, start, start)
        self.cut_at: int | None = None
        self.cut_fields = 0
        self._is_field_open = False  # is_quoted, and between the two of a doubled quote, too
        self._field_has_line_end = False
        self._last_close = -2
        self._record_start = self._line_start = start
        self._num_commas = 0  # of the record under way
        self._num_lines = _line_number(content, start) - 1
        self._record_line = self._num_lines + 1
        self._num_malformed = 0
        self._malformed_lines: list[int] = []
        self._longest = 0
        self._windows: list[Window] = []
        self._window_start = start

    def records(self) -> Records:
        self._end_window(len(self._content))
        return Records(tuple(self._windows), tuple(self._malformed_lines), self._longest)

    def _end_window(self, stop: int) -> None:
        number = self.number - sum(window.number for window in self._windows)
        num_malformed = self._num_malformed - sum(window.num_malformed for window in self._windows)
        if number:
            self._windows.append(Window(self._window_start, stop, number, num_malformed))
        self._window_start = stop

    def read_chunk(self, stop: int) -> list[_Field]:
        """Reads on, at most up to `stop`; returns the quoted fields that ended and may have taken in rows.

        These are the ones that span lines, and have a comma or are followed by text.
        """
        stop = min(stop, self.position + _CHUNK_BYTES)
        chunk = self._bytes[self.position : stop]
        is_special = (chunk == _QUOTE) | (chunk == _COMMA) | (chunk == _LF) | (chunk == _CR)
        positions = np.flatnonzero(is_special)
        values = chunk[positions]
        positions += self.position
        self.position = stop
        is_line_end = values == _LF
        (returns,) = np.nonzero(values == _CR)
        if len(returns):
            is_line_end[returns] = self._next_bytes(positions[returns]) != _LF
        is_quote = values == _QUOTE
        fields: list[_Field] = []
        if is_quote.any():
            quotes = positions[is_quote]
            was_quoted = self.is_quoted
            is_toggle = self._find_toggles(quotes)
            toggles = is_quote.copy()
            toggles[is_quote] = is_toggle
            # The parity of the count: that it wraps around at 256 does not matter.
            is_quoted = (np.cumsum(toggles, dtype=np.uint8) & 1).astype(bool) ^ was_quoted
            fields = self._pair_quotes(
                quotes[is_toggle],
                was_quoted,
                line_ends=positions[is_line_end],
                quoted_line_ends=positions[is_line_end & is_quoted],
                quoted_commas=positions[(values == _COMMA) & is_quoted],
            )
            is_unquoted = ~is_quoted
        else:
            is_unquoted = np.full(len(positions), not self.is_quoted)
            self._field_has_line_end |= self._is_field_open and bool(is_line_end.any())
        self._count_records(positions, is_line_end, is_unquoted & ((values == _COMMA) | is_line_end))
        return fields

    def finish(self) -> None:
        """Counts a last record without a line end."""
        if self._record_start == len(self._content):
            return
        self.number += 1
        self._longest = max(self._longest, len(self._content) - self._record_start)
        num_fields = self._num_commas + 1
        if num_fields != self._num_columns:
            self._num_malformed += 1
            self._malformed_lines += [self._record_line][: _NUM_EXAMPLES - len(self._malformed_lines)]
        if num_fields < self._num_columns and self._content[self._record_start :].strip():
            self.cut_at, self.cut_fields = self._record_start, num_fields

    def _next_bytes(self, positions: NDArray[np.intp]) -> NDArray[np.uint8]:
        """Returns the byte behind each position, a comma behind the last."""
        following = np.full(len(positions), _COMMA, np.uint8)
        is_last = positions == len(self._bytes) - 1
        following[~is_last] = self._bytes[positions[~is_last] + 1]
        return following

    def _find_toggles(self, quotes: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Returns which quotes begin or end quoting, and updates `is_quoted`; a doubled quote ends and begins it."""
        before = self._bytes[quotes - 1]
        may_open = (before == _COMMA) | (before == _LF) | (before == _CR)
        opens = (np.arange(len(quotes)) + self.is_quoted) & 1 == 0
        is_doubled = before == _QUOTE
        is_doubled[0] = quotes[0] - 1 == self._last_close
        if (may_open | is_doubled)[opens].all():
            # No quote is text, so that they alternate.
            is_toggle = np.ones(len(quotes), bool)
        else:
            is_toggle = np.zeros(len(quotes), bool)
            is_quoted, last_close = self.is_quoted, self._last_close
            for index, (quote, at_field_start) in enumerate(zip(quotes.tolist(), may_open.tolist(), strict=True)):
                if is_quoted:
                    is_quoted, last_close = False, quote
                elif at_field_start or quote - 1 == last_close:
                    is_quoted = True
                else:
                    continue
                is_toggle[index] = True
        closes = quotes[is_toggle][int(not self.is_quoted) :: 2]
        if len(closes):
            self._last_close = int(closes[-1])
        self.is_quoted ^= bool(is_toggle.sum() & 1)
        return is_toggle

    def _pair_quotes(
        self,
        quotes: NDArray[np.intp],
        was_quoted: bool,
        *,
        line_ends: NDArray[np.intp],
        quoted_line_ends: NDArray[np.intp],
        quoted_commas: NDArray[np.intp],
    ) -> list[_Field]:
        """Returns the fields of `read_chunk` from the quotes that begin or end quoting, and other offsets."""
        opens = quotes[int(was_quoted) :: 2]
        closes = quotes[int(not was_quoted) :: 2]
        # A doubled quote neither begins nor ends a field.
        opens = opens[self._bytes[opens - 1] != _QUOTE]
        following = self._next_bytes(closes)
        closes, following = closes[following != _QUOTE], following[following != _QUOTE]
        starts = np.concatenate([[self._line_start], line_ends + 1])
        line_starts = starts[np.searchsorted(line_ends, opens)]
        if self._is_field_open:
            opens = np.concatenate([[self.field.open_at], opens])
            line_starts = np.concatenate([[self.field.line_start], line_starts])
        num_complete = len(closes)
        spans_lines = _have_any(quoted_line_ends, opens[:num_complete], closes)
        is_doubtful = (following != _COMMA) & (following != _LF) & (following != _CR)
        is_doubtful |= self._num_columns == 1 or _have_any(quoted_commas, opens[:num_complete], closes)
        if self._is_field_open and num_complete:
            spans_lines[0] |= self._field_has_line_end
            is_doubtful[0] = True  # its commas may be in an earlier chunk
        fields = [
            _Field(int(opens[index]), int(closes[index]), int(line_starts[index]))
            for index in np.flatnonzero(spans_lines & is_doubtful)
        ]
        if len(opens) > num_complete:
            is_carried = self._is_field_open and not num_complete
            self.field = _Field(int(opens[-1]), int(opens[-1]), int(line_starts[-1]))
            self._field_has_line_end = (is_carried and self._field_has_line_end) or bool(
                (quoted_line_ends > self.field.open_at).any()
            )
        self._is_field_open = len(opens) > num_complete
        return fields

    def _count_records(
        self, positions: NDArray[np.intp], is_line_end: NDArray[np.bool_], is_separator: NDArray[np.bool_]
    ) -> None:
        """Counts the records that end in the chunk.

        Args:
            positions: Offsets of the quotes, commas and line ends of the chunk, ascending, shape `(num_positions,)`.
            is_line_end: Which of these are line ends, quoted or not.
            is_separator: Which of these are commas and line ends outside of quotes.
        """
        (ends,) = np.nonzero(is_line_end[is_separator])
        num_separators = int(np.count_nonzero(is_separator))
        if len(ends):
            end_positions = positions[is_line_end & is_separator]
            starts = np.concatenate([[self._record_start], end_positions[:-1] + 1])
            sizes = end_positions - starts
            is_blank = (sizes == 0) | ((sizes == 1) & (self._bytes[starts] == _CR))
            num_commas = np.diff(ends, prepend=-1) - 1
            num_commas[0] += self._num_commas
            is_malformed = ~is_blank & (num_commas != self._num_columns - 1)
            num_lines = self._num_lines + np.searchsorted(positions[is_line_end], end_positions, "right")
            lines = np.concatenate([[self._record_line], num_lines[:-1] + 1])
            missing = _NUM_EXAMPLES - len(self._malformed_lines)
            self._malformed_lines += lines[is_malformed][:missing].tolist()
            self._num_malformed += int(is_malformed.sum())
            self.number += int((~is_blank).sum())
            self._longest = max(self._longest, int(sizes.max()) + 1)
            self._record_start = int(end_positions[-1]) + 1
            self._record_line = int(num_lines[-1]) + 1
            self._num_commas = num_separators - int(ends[-1]) - 1
            if self._record_start - self._window_start >= _WINDOW_BYTES:
                self._end_window(self._record_start)
        else:
            self._num_commas += num_separators
        line_ends = positions[is_line_end]
        if len(line_ends):
            self._num_lines += len(line_ends)
            self._line_start = int(line_ends[-1]) + 1
