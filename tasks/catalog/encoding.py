"""Find the encoding of a catalog: UTF-8, or ISO-8859-1 as the published file; a mix of both is refused.

A file is UTF-8 if all of it is valid UTF-8, or if it starts with a byte-order mark. Otherwise it is ISO-8859-1, in
which a sequence that happens to be valid UTF-8 (`ß»`) is rare: the published file's 447 runs of characters beyond ASCII
have none. So a file that is not valid UTF-8, and yet has more than one such sequence in a hundred, mixes encodings.
"""

import codecs
import re
from collections.abc import Iterable, Iterator
from functools import partial
from typing import IO

import numpy as np

from tasks.catalog.content import Content, iterate_chunks, store
from tasks.catalog.records import name_row
from tasks.errors import CatalogError

_MAX_CHANCE_SHARE = 0.01


def as_utf8(content: Content, source: str) -> Content:
    """Returns a catalog in UTF-8, without byte-order mark.

    Args:
        content: The file in UTF-8, with or without byte-order mark, or in ISO-8859-1.
        source: Path or address of the file, for messages.

    Raises:
        CatalogError: A part of the file is UTF-8, and another is not.
    """
    num_mark_bytes = len(codecs.BOM_UTF8) if content[: len(codecs.BOM_UTF8)] == codecs.BOM_UTF8 else 0
    text = store(partial(_write, iterate_chunks(content, num_mark_bytes))) if num_mark_bytes else content
    invalid_at = _find_invalid_utf8(text)
    if invalid_at is None:
        return text
    num_invalid, num_valid, first_valid = _count_non_ascii(text)
    where = f"the first, 0x{text[invalid_at]:02x}, in {name_row(text, invalid_at)}"
    if num_mark_bytes:
        raise CatalogError(
            f"{source} starts with UTF-8's byte-order mark, and has {num_invalid} bytes that are not UTF-8, {where}; "
            "expected UTF-8 or ISO-8859-1"
        )
    if num_valid > _MAX_CHANCE_SHARE * (num_valid + num_invalid):
        valid_at = text.find(first_valid.encode("utf-8"))
        raise CatalogError(
            f"{source} mixes encodings: {num_invalid} bytes are not UTF-8, {where}; {num_valid} characters are, "
            f"the first, {first_valid}, in {name_row(text, valid_at)}; expected one encoding, UTF-8 or ISO-8859-1"
        )
    recoded = (chunk.decode("iso-8859-1").encode("utf-8") for chunk in iterate_chunks(text))
    return store(partial(_write, recoded))


def _write(chunks: Iterable[bytes], file: IO[bytes]) -> None:
    # Not `writelines`: a spooled file would hold them all in memory before it looks at their size.
    for chunk in chunks:
        file.write(chunk)


def _find_invalid_utf8(content: Content) -> int | None:
    """Returns the offset of the first byte that is not UTF-8; None if all are."""
    position, rest = 0, b""  # the bytes of a character that the next chunk completes
    for chunk in iterate_chunks(content):
        if not rest and chunk.isascii():
            position += len(chunk)
            continue
        piece = rest + chunk
        try:
            _, num_bytes = codecs.utf_8_decode(piece, "strict", False)
        except UnicodeDecodeError as error:
            return position + error.start
        position, rest = position + num_bytes, piece[num_bytes:]
    return position if rest else None


def _count_non_ascii(content: Content) -> tuple[int, int, str]:
    """Returns the numbers of bytes that are no UTF-8 and of characters beyond ASCII, and the first of the latter."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    num_invalid, num_valid, first_valid = 0, 0, ""

    def count(text: str) -> None:
        nonlocal num_invalid, num_valid, first_valid
        valid = re.findall("[^\x00-\x7f\udc80-\udcff]", text)
        num_invalid += len(re.findall("[\udc80-\udcff]", text))
        num_valid += len(valid)
        first_valid = first_valid or "".join(valid[:1])

    for part in _iterate_non_ascii(content):
        count(decoder.decode(part))
    count(decoder.decode(b"", final=True))
    return num_invalid, num_valid, first_valid


def _iterate_non_ascii(content: Content) -> Iterator[bytes]:
    """Yields the runs of bytes beyond ASCII, an ASCII byte behind each."""
    previous_is_high = False
    for part in iterate_chunks(content):
        chunk = np.frombuffer(part, np.uint8)
        is_high = chunk >= 0x80
        is_kept = is_high.copy()
        is_kept[1:] |= is_high[:-1]
        is_kept[0] |= previous_is_high
        previous_is_high = bool(is_high[-1])
        yield chunk[is_kept].tobytes()
