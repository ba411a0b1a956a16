"""Read JPEG files by the rules of libjpeg-turbo 2.1, which TensorFlow decodes with, by the libjpeg of Pillow.

Three things differ where Pillow opens a file. Its parser of headers refuses what libjpeg steps over, such as bytes
between markers. Its libjpeg is newer and decodes lossless files, too. And it accepts files that end, or break, between
the last row and the end marker. So the header is read here, by `jdmarker.c`, and libjpeg is called without that parser.
"""

import re
import struct
from dataclasses import dataclass

from PIL import Image

JPEG_SIGNATURE = b"\xff\xd8\xff"

_MARKER = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)
_SOI, _EOI, _SOS, _DAC, _DHT, _DQT, _DRI, _DNL, _COM = 0xD8, 0xD9, 0xDA, 0xCC, 0xC4, 0xDB, 0xDD, 0xDC, 0xFE
_APP0, _APP14, _APP15 = 0xE0, 0xEE, 0xEF
# Baseline, extended and progressive, each also with arithmetic coding; no lossless, hierarchical or JPEG-LS files.
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
_TABLES = (_DAC, _DHT, _DQT, _DRI)
_WITHOUT_DATA = (0x01, *range(0xD0, 0xD8))  # TEM, RST0-RST7
_FRAME_BYTES = 8  # of a frame's segment, before its components
_APP_BYTES = 16  # that libjpeg reads of the segments of JFIF and Adobe
_MAX_SIDE = 65_500  # `JPEG_MAX_DIMENSION`
# Each of many empty scans visits all blocks of the image: minutes, from a file of some megabytes. The limit is that of
# libjpeg-turbo's own fuzz tests; programs write about ten.
_MAX_SCANS = 500
_FAST_DCT = 1
# A start marker within a file is an error of libjpeg: behind the file, it stops a decoder that has not found its end.
# Longer than any segment, of which the last may be cut off.
_STOP = b"\xff\xd8" * 0x8000
_MODES = {1: "L", 3: "YCbCr", 4: "CMYK"}


@dataclass(frozen=True)
class JpegFile:
    """A JPEG file whose header is sound; its pixels are not decoded yet.

    Attributes:
        width: Pixels across.
        height: Pixels down.
        components: Number, samples across and samples down of each component, of which there are 1, 3 or 4.
        has_jfif_marker: Whether it says to be a JFIF file.
        adobe_transform: The color transform of its Adobe marker; None without one.
        header: Its header without everything that does not change how components are decoded.
        scans: The file from its first scan on.
    """

    width: int
    height: int
    components: tuple[tuple[int, int, int], ...]
    has_jfif_marker: bool
    adobe_transform: int | None
    header: bytes
    scans: bytes

    def decode_components(self, ratio: int) -> Image.Image:
        """Decodes the file to its end, by the fast inverse DCT, with components repeated and colors as stored.

        Args:
            ratio: 1, 2, 4 or 8: how often smaller than the file the image is.

        Returns:
            Image of mode `L`, `YCbCr` (whatever the three components are) or `CMYK`.

        Raises:
            ValueError: If the file is broken or has no end.
        """
        mode = _MODES[len(self.components)]
        # libjpeg writes rows of the header's width into an image of this size. As it gets the header that was read here
        # and no other, both widths are the same.
        size = (-(-self.width // ratio), -(-self.height // ratio))

        def decode(scans: bytes, behind: bytes) -> Image.Image:
            content = b"".join([self.header, scans, behind])
            return Image.frombytes(mode, size, content, "jpeg", mode, mode, ratio, _FAST_DCT)

        try:
            return decode(self.scans, _STOP)
        except ValueError:
            scans = _mend_cut_off_segment(self.scans)
            if scans is None:
                raise
        return decode(scans, b"")


def parse_jpeg(content: bytes) -> JpegFile:
    """Reads the header of a JPEG file.

    Args:
        content: The file, which begins with `JPEG_SIGNATURE`.

    Raises:
        ValueError: If libjpeg would not read it, or would take minutes.
    """
    frame: bytes | None = None
    has_jfif_marker, adobe_transform = False, None
    header = [JPEG_SIGNATURE[:2]]
    marker, at = _find_marker(content, 2)
    while marker != _SOS:
        if marker not in _WITHOUT_DATA:
            data, at = _read_segment(content, marker, at)
            if marker in _FRAMES:
                if frame is not None:
                    raise ValueError("two frames")
                frame = data
            if marker in _FRAMES or marker in _TABLES:
                header.append(struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data)
            elif marker == _APP0:
                has_jfif_marker |= len(data) >= 14 and data.startswith(b"JFIF\0")
            elif marker == _APP14 and len(data) >= 12 and data.startswith(b"Adobe"):
                adobe_transform = data[11]
        marker, at = _find_marker(content, at)
    if frame is None:
        raise ValueError("no frame before the first scan")
    width, height, components = _read_frame(frame)
    scans = content[at - 2 :]  # from the scan's marker on
    if scans.count(bytes([0xFF, _SOS])) > _MAX_SCANS:
        raise ValueError("too many scans")
    return JpegFile(width, height, components, has_jfif_marker, adobe_transform, b"".join(header), scans)


def _mend_cut_off_segment(scans: bytes) -> bytes | None:
    """Returns the scan if the file ends in the middle of a segment behind its last row, which TensorFlow accepts.

    Its source of bytes (`MemFillInputBuffer` of `jpeg_handle.cc`) raises at the end of the file only if libjpeg has not
    begun to read a marker or the bytes of a segment; else libjpeg waits for more bytes, with all rows decoded.

    Args:
        scans: The file from its first scan on, the only one: of several, each must have its end.

    Returns:
        The scan and what is left of the segment; None for other files.
    """
    at = 2 + int.from_bytes(scans[2:4], "big")
    while found := _MARKER.search(scans, at):
        marker, at = found[1][0], found.end()
        if marker in _WITHOUT_DATA:
            continue
        num_left = len(scans) - at
        if num_left == 0 or marker in (_SOI, _EOI):
            return None
        length = max(2, int.from_bytes(scans[at : at + 2], "big"))
        if marker in _FRAMES:
            # A second one is an error once its first bytes are read, in newer versions of libjpeg at its marker.
            return scans[: at - 1] + bytes([_COM]) if num_left < _FRAME_BYTES else None
        if num_left < (2 if num_left < 2 else _count_bytes_read(marker, length)):
            return scans
        if num_left < length:
            return None
        at += length
    return scans if scans.endswith(b"\xff") else None


def _count_bytes_read(marker: int, length: int) -> int:
    """Returns how many bytes of a segment libjpeg reads; it skips the others, for which they must be there."""
    if marker in _TABLES or marker == _SOS:
        return length
    return min(length, _APP_BYTES) if marker in (_APP0, _APP14) else 2


def _find_marker(content: bytes, at: int) -> tuple[int, int]:
    """Returns the next marker, and where its segment begins; steps over anything else, as `next_marker` does."""
    found = _MARKER.search(content, at)
    if not found:
        raise ValueError("the file ends in its header")
    return found[1][0], found.end()


def _read_segment(content: bytes, marker: int, at: int) -> tuple[bytes, int]:
    """Returns the data of the segment that begins at `at`, and where it ends."""
    is_used = marker in _FRAMES or marker in _TABLES
    is_skipped = _APP0 <= marker <= _APP15 or marker in (_COM, _DNL)
    if not is_used and not is_skipped:
        raise ValueError(f"unexpected marker {marker:#x}")
    if len(content) < at + 2:
        raise ValueError("the file ends in its header")
    (length,) = struct.unpack_from(">H", content, at)
    if length < 2:
        if is_used:
            raise ValueError("a segment of less than its length")
        length = 2  # libjpeg reads on after it
    if len(content) < at + length:
        raise ValueError("the file ends in its header")
    return content[at + 2 : at + length], at + length


def _read_frame(data: bytes) -> tuple[int, int, tuple[tuple[int, int, int], ...]]:
    """Returns width, height and components."""
    if len(data) < 6:
        raise ValueError("a frame header of the wrong size")
    bits, height, width, num_components = struct.unpack_from(">BHHB", data)
    if len(data) != 6 + 3 * num_components:
        raise ValueError("a frame header of the wrong size")
    if bits != 8 or num_components not in _MODES:
        raise ValueError(f"{num_components} components of {bits} bits")
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        raise ValueError("a side of no pixels or too many")
    triples = (data[start : start + 3] for start in range(6, len(data), 3))
    return width, height, tuple((number, factors >> 4, factors & 15) for number, factors, _ in triples)
