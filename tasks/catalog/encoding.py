"""Find the encoding of a catalog: UTF-8, or ISO-8859-1 as the published file; a mix of both is refused.

A file is UTF-8 if all of it is valid UTF-8, or if it starts with a byte-order mark. Otherwise it is ISO-8859-1, in
which a sequence that happens to be valid UTF-8 (`ß»`) is rare: the published file's 447 runs of characters beyond ASCII
have none. So a file that is not valid UTF-8, and yet has more than one such sequence in a hundred, mixes encodings.
"""

import codecs
import re

import numpy as np

from tasks.catalog.records import name_row
from tasks.errors import CatalogError

_CHUNK_BYTES = 1 << 20  # at least 4, the size of a character
_MAX_CHANCE_SHARE = 0.01


def as_utf8(content: bytes, source: str) -> bytes:
    """Returns a catalog in UTF-8, without byte-order mark.

    Args:
        content: The file in UTF-8, with or without byte-order mark, or in ISO-8859-1.
        source: Path or address of the file, for messages.

    Raises:
        CatalogError: A part of the file is UTF-8, and another is not.
    """
    text = content.removeprefix(codecs.BOM_UTF8)
    invalid_at = _find_invalid_utf8(text)
    if invalid_at is None:
        return text
    non_ascii = _extract_non_ascii(text).decode("utf-8", errors="surrogateescape")
    num_invalid = len(re.findall("[\udc80-\udcff]", non_ascii))
    valid = re.findall("[^\x00-\x7f\udc80-\udcff]", non_ascii)
    where = f"the first, 0x{text[invalid_at]:02x}, in {name_row(text, invalid_at)}"
    if len(text) < len(content):
        raise CatalogError(
            f"{source} starts with UTF-8's byte-order mark, and has {num_invalid} bytes that are not UTF-8, {where}; "
            "expected UTF-8 or ISO-8859-1"
        )
    if len(valid) > _MAX_CHANCE_SHARE * (len(valid) + num_invalid):
        valid_at = text.find(valid[0].encode("utf-8"))
        raise CatalogError(
            f"{source} mixes encodings: {num_invalid} bytes are not UTF-8, {where}; {len(valid)} characters are, "
            f"the first, {valid[0]}, in {name_row(text, valid_at)}; expected one encoding, UTF-8 or ISO-8859-1"
        )
    return text.decode("iso-8859-1").encode("utf-8")


def _find_invalid_utf8(content: bytes) -> int | None:
    """Returns the offset of the first byte that is not UTF-8; None if all are."""
    if content.isascii():
        return None
    position = 0
    while position < len(content):
        # By chunks, so that no text of the whole file is made.
        chunk = content[position : position + _CHUNK_BYTES]
        try:
            _, num_bytes = codecs.utf_8_decode(chunk, "strict", position + len(chunk) == len(content))
        except UnicodeDecodeError as error:
            return position + error.start
        position += num_bytes
    return None


def _extract_non_ascii(content: bytes) -> bytes:
    """Returns the runs of bytes beyond ASCII, an ASCII byte behind each."""
    parts = []
    previous_is_high = False
    for start in range(0, len(content), _CHUNK_BYTES):
        chunk = np.frombuffer(content, np.uint8, min(_CHUNK_BYTES, len(content) - start), start)
        is_high = chunk >= 0x80
        is_kept = is_high.copy()
        is_kept[1:] |= is_high[:-1]
        is_kept[0] |= previous_is_high
        previous_is_high = bool(is_high[-1])
        parts.append(chunk[is_kept].tobytes())
    return b"".join(parts)
