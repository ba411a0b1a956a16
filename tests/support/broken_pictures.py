"""Pictures that a decoder refuses although their headers are right."""

import struct
import zlib


def draw_png_without_its_last_rows() -> bytes:
    """Returns a PNG file whose checksums are right, and which ends after half of its rows."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 40, 60, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes(40 * 3)) * 30)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
