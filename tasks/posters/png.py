"""Read PNG files by the rules of libpng, which TensorFlow decodes with: what it refuses is refused, and nothing else.

Pillow has other rules: it accepts missing rows, missing checksums and unknown critical chunks, and refuses wrong
checksums of comments. So chunks are read here, by libpng 1.6 (`pngread.c`, `pngrutil.c`), and nothing is decompressed
but rows of pixels, one at a time: profiles, comments and whatever else may unpack to gigabytes are only stepped over.
"""

import io
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PNG_SIDE = 1_000_000  # `PNG_USER_WIDTH_MAX` and `PNG_USER_HEIGHT_MAX`

_MAX_CHUNK_BYTES = 0x7FFFFFFF
_IDAT_READ_SIZE = 8192  # bytes that libpng gives to zlib at once; a checksum is ignored if it begins a new piece
_INFLATE_BUFFER_SIZE = 1024
# Compressed data after the last row: libpng reads it to its end. A limit in time, which no honest file comes near.
_MAX_SURPLUS_BYTES = 1 << 24

_HEADER = ">IIBBBBB"
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_CHANNELS = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGB_ALPHA: 4}
_BIT_DEPTHS = {_GREY: (1, 2, 4, 8, 16), _PALETTE: (1, 2, 4, 8)}
_MAX_COLORS = 256
_NUM_FILTERS = 5
# First column, first row, and steps of the passes of interlaced files (PNG specification, 8.2).
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
# Chunks that libpng has a function for: an error before IHDR, where unknown ones are stepped over.
_KNOWN_CHUNKS = frozenset(
    b"bKGD cHRM eXIf gAMA hIST oFFs pCAL sCAL pHYs sBIT sRGB iCCP sPLT tEXt tIME tRNS zTXt iTXt".split()
)


@dataclass(frozen=True)
class PngFile:
    """A PNG file whose chunks are sound; its pixels are not read yet.

    Attributes:
        content: The file.
        width: Pixels across.
        height: Pixels down.
        bit_depth: Bits of a channel, 1-16.
        color_type: Number of the color type in the PNG specification.
        interlaced: Whether rows come in seven passes.
        palette: Red, green and blue of each color of the palette; empty without one.
        data: Start and end of each chunk of compressed rows.
    """

    content: bytes
    width: int
    height: int
    bit_depth: int
    color_type: int
    interlaced: bool
    palette: bytes
    data: tuple[tuple[int, int], ...]

    def read_rows(self) -> Iterator[bytes]:
        """Yields the decompressed rows, each with its filter byte; the whole stream has been checked after the last.

        Raises:
            ValueError: If libpng would not decode them.
        """
        # The window of the file's header, not the largest one: zlib refuses references to before it.
        inflater = zlib.decompressobj(wbits=0)
        pieces = self._read_pieces()
        piece = b""
        for size in self._list_row_sizes():
            row = b""
            while len(row) < size:
                if inflater.eof:
                    raise ValueError("the compressed data end before the last row")
                piece = piece or next(pieces)
                try:
                    row += inflater.decompress(piece, size - len(row))
                except zlib.error as error:
                    raise ValueError(str(error)) from error
                piece = inflater.unconsumed_tail
            if row[0] >= _NUM_FILTERS:
                raise ValueError(f"unknown filter {row[0]}")
            yield row
        _finish(inflater, piece, pieces)

    def rewrite(self) -> io.BytesIO:
        """Returns a file with the same pixels and no other chunks, uncompressed: one that every decoder reads.

        Raises:
            ValueError: If libpng would not decode this file.
        """
        header = (self.width, self.height, self.bit_depth, self.color_type, 0, 0, int(self.interlaced))
        file = io.BytesIO()
        file.write(PNG_SIGNATURE + _write_chunk(b"IHDR", struct.pack(_HEADER, *header)))
        if self.color_type == _PALETTE:
            # Colors beyond the palette are black in libpng.
            file.write(_write_chunk(b"PLTE", self.palette.ljust(3 << self.bit_depth, b"\0")))
        deflater = zlib.compressobj(level=0)
        for row in self.read_rows():
            if data := deflater.compress(row):  # many rows at once
                file.write(_write_chunk(b"IDAT", data))
        file.write(_write_chunk(b"IDAT", deflater.flush()) + _write_chunk(b"IEND", b""))
        file.seek(0)
        return file

    def _list_row_sizes(self) -> Iterator[int]:
        pixel_bits = _CHANNELS[self.color_type] * self.bit_depth
        for left, top, across, down in _PASSES if self.interlaced else ((0, 0, 1, 1),):
            num_columns = -((left - self.width) // across)
            num_rows = -((top - self.height) // down)
            if num_columns > 0:
                for _ in range(num_rows):
                    yield 1 + (num_columns * pixel_bits + 7) // 8

    def _read_pieces(self) -> Iterator[bytes]:
        for start, end in self.data:
            for at in range(start, end, _IDAT_READ_SIZE):
                yield self.content[at : min(at + _IDAT_READ_SIZE, end)]
        raise ValueError("not enough image data")


def _finish(inflater: "zlib._Decompress", piece: bytes, pieces: Iterator[bytes]) -> None:
    """Reads to the end of the stream, as `png_read_finish_IDAT` does, where broken data are no error."""
    surplus = 0
    while not inflater.eof:
        piece = piece or next(pieces)
        try:
            surplus += len(inflater.decompress(piece, _INFLATE_BUFFER_SIZE))
        except zlib.error:
            return
        piece = inflater.unconsumed_tail
        if surplus == 0:
            return
        if surplus > _MAX_SURPLUS_BYTES:
            raise ValueError("too much data after the last row")


def parse_png(content: bytes) -> PngFile:
    """Reads the chunks of a PNG file.

    Args:
        content: The file, which begins with `PNG_SIGNATURE`.

    Raises:
        ValueError: If libpng would not read them.
    """
    header: tuple[int, ...] = ()
    palette: bytes | None = None
    data: list[tuple[int, int]] = []
    is_first_run = True
    for name, start, end in _list_chunks(content):
        is_first_run = is_first_run and (name == b"IDAT" or not data)
        if name == b"IHDR":
            if header:
                raise ValueError("two headers")
            header = _read_header(content[start:end])
        elif not header and (not name[0] & 0x20 or name in _KNOWN_CHUNKS):
            raise ValueError(f"{name!r} before the header")
        elif name == b"PLTE":
            if palette is not None:
                raise ValueError("two palettes")
            palette = _read_palette(content[start:end], header) if not data else palette
        elif name == b"IDAT":
            if header[3] == _PALETTE and palette is None:
                raise ValueError("no palette")
            if is_first_run:  # libpng ignores image data after another chunk
                data.append((start, end))
    if not data:
        raise ValueError("no image data")
    width, height, bit_depth, color_type, _, _, interlace = header
    return PngFile(content, width, height, bit_depth, color_type, bool(interlace), palette or b"", tuple(data))


def _list_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields name, start and end of the data of each chunk up to IEND; checksums count in critical chunks only."""
    view = memoryview(content)
    end = len(PNG_SIGNATURE)
    name = b""
    while name != b"IEND":
        at = end if not name else end + 4
        if len(content) < at + 8:
            raise ValueError("the file ends before IEND")
        (length,) = struct.unpack_from(">I", content, at)
        name = content[at + 4 : at + 8]
        start, end = at + 8, at + 8 + length
        if length > _MAX_CHUNK_BYTES or not re.fullmatch(rb"[A-Za-z]{4}", name) or len(content) < end + 4:
            raise ValueError("not a chunk")
        if not name[0] & 0x20:
            if name not in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
                raise ValueError(f"unknown critical chunk {name!r}")
            if struct.unpack_from(">I", content, end) != (zlib.crc32(view[at + 4 : end]),):
                raise ValueError(f"wrong checksum of {name!r}")
        yield name, start, end


def _read_header(data: bytes) -> tuple[int, ...]:
    """Returns width, height, bit depth, color type, and methods of compression, filters and interlacing."""
    if len(data) != struct.calcsize(_HEADER):
        raise ValueError("a header of the wrong size")
    header = struct.unpack(_HEADER, data)
    width, height, bit_depth, color_type, compression, filters, interlace = header
    if not (0 < width <= _MAX_CHUNK_BYTES and 0 < height <= _MAX_CHUNK_BYTES):
        raise ValueError("a side of no pixels or too many")
    if color_type not in _CHANNELS or bit_depth not in _BIT_DEPTHS.get(color_type, (8, 16)):
        raise ValueError(f"color type {color_type} with {bit_depth} bits")
    if compression or filters or interlace > 1:
        raise ValueError("an unknown method of compression, filters or interlacing")
    return header


def _read_palette(data: bytes, header: tuple[int, ...]) -> bytes:
    """Returns the palette without surplus colors; an empty one where it is ignored, as it is in grey images."""
    _, _, bit_depth, color_type, *_ = header
    if color_type in (_GREY, _GREY_ALPHA):
        return b""
    if not data:
        raise ValueError("an empty palette")
    if len(data) > 3 * _MAX_COLORS or len(data) % 3:
        if color_type == _PALETTE:
            raise ValueError("a palette of the wrong size")
        return b""
    return data[: 3 << bit_depth] if color_type == _PALETTE else data


def _write_chunk(name: bytes, data: bytes) -> bytes:
    return b"".join([struct.pack(">I", len(data)), name, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))])
