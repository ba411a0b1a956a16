import contextlib
import io
import random
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.features.numpy_preprocessing import decode_image
from tasks.features.preprocessing import decode_poster
from tasks.posters.images import MAX_PIXELS, ImageInfo, NotAPosterError, check_image
from tasks.posters.png import PNG_SIGNATURE


def encode(format: str, mode: str, size: tuple[int, int] = (40, 50), **options: object) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 60).convert(mode).save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "format"),
    [
        (encode("JPEG", "RGB"), "jpeg"),
        (encode("JPEG", "RGB", progressive=True), "jpeg"),
        (encode("JPEG", "L"), "jpeg"),
        (encode("JPEG", "CMYK"), "jpeg"),
        (encode("MPO", "RGB"), "jpeg"),
        (encode("PNG", "RGB"), "png"),
        (encode("PNG", "RGBA"), "png"),
        (encode("PNG", "P"), "png"),
        (encode("PNG", "LA"), "png"),
        (encode("PNG", "1"), "png"),
        (encode("PNG", "I;16"), "png"),
        (encode("PNG", "RGB", save_all=True, append_images=[Image.new("RGB", (40, 50))]), "png"),
    ],
)
def test_accepted_images_can_be_decoded_by_the_model(content: bytes, format: str) -> None:
    assert check_image(content) == ImageInfo(format, 40, 50)
    assert decode_poster(tf.constant(content)).shape == (50, 40, 3)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<html></html>", "not an image"),
        (encode("GIF", "P"), "format gif"),
        (encode("WEBP", "RGB"), "format webp"),
        (encode("AVIF", "RGB"), "format avif"),
        (encode("AVIF", "RGB")[:40], "format avif"),  # Pillow's decoder raises RuntimeError
        (encode("DDS", "RGB").replace(b"DDS |\0\0\0", b"DDS |\1\0\0"), "format dds"),
        (encode("BMP", "RGB"), "format bmp"),
        (encode("TIFF", "RGB"), "format tiff"),
        (encode("ICO", "RGB"), "format ico"),
        (encode("JPEG2000", "RGB"), "format jpeg2000"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "format svg"),
        (encode("JPEG", "RGB")[:-200], "broken image"),
        (encode("PNG", "RGB")[:-200], "broken image"),
        (encode("PNG", "1", (5001, 5000)), "too many pixels"),
        (encode("JPEG", "L", (5001, 5000)), "too many pixels"),
        (encode("JPEG", "RGB", (31, 500)), "too small"),
    ],
)
def test_reasons_of_rejection(content: bytes, reason: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(NotAPosterError) as raised:
            check_image(content, min_side_pixels=32)
    assert raised.value.reason == reason
    if reason != "too small":
        with pytest.raises(NotAPosterError, match=reason):
            decode_image(content)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "BMP", "AVIF"])
def test_other_formats_are_refused_by_the_model_too(format: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_poster(tf.constant(encode(format, "RGB")))


def assert_agreement(content: bytes, *, is_decoded: bool) -> None:
    """Asserts whether the check, the decoder without TensorFlow, and TensorFlow accept a file."""
    answers = []
    for decode in (check_image, decode_image, lambda content: decode_poster(tf.constant(content))):
        try:
            decode(content)
            answers.append(True)
        except (NotAPosterError, tf.errors.InvalidArgumentError):
            answers.append(False)
    assert answers == [is_decoded] * 3


Chunk = tuple[bytes, bytes]
WIDTH, HEIGHT = 30, 20
ROWS = b"".join(bytes([row % 5]) + bytes((row * column) % 251 for column in range(3 * WIDTH)) for row in range(HEIGHT))
STREAM = zlib.compress(ROWS)
HEADER = (b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0))
DATA = (b"IDAT", STREAM)
END = (b"IEND", b"")
PALETTE_HEADER = (b"IHDR", struct.pack(">IIBBBBB", 3 * WIDTH, HEIGHT, 8, 3, 0, 0, 0))
BOMB = b"a\0\0" + zlib.compress(bytes(100_000_000), 9)


def join(*chunks: Chunk, wrong: bytes = b"") -> bytes:
    """Returns a PNG file; with a wrong checksum in the chunks of one name."""
    parts = [PNG_SIGNATURE]
    for name, data in chunks:
        checksum = zlib.crc32(name + data) ^ (name == wrong)
        parts += [struct.pack(">I", len(data)), name, data, struct.pack(">I", checksum)]
    return b"".join(parts)


def store(surplus: int) -> bytes:
    """Returns an uncompressed stream of rows whose checksum, a wrong one, is at 8,192 + `surplus`."""
    num_bytes = 8192 - 7 - 5 * 14 + surplus
    blocks = b"\0\0\0\xff\xff" * 14 + b"\1" + struct.pack("<HH", num_bytes, num_bytes ^ 0xFFFF)
    return b"\x78\x01" + blocks + bytes(num_bytes) + b"oops"


def write_with_wrong_checksum(surplus: int) -> bytes:
    size = struct.pack(">IIBBBBB", 8192 - 7 - 5 * 14 + surplus - 1, 1, 8, 0, 0, 0, 0)
    return join((b"IHDR", size), (b"IDAT", store(surplus)), END)


# Rows of 700 pixels whose random half repeats after 701 bytes.
STREAM_OF_FAR_REPEATS = zlib.compress(2 * (b"\0" + random.Random(0).randbytes(350) + bytes(350)))


def write_grey_rows(stream: bytes) -> bytes:
    return join((b"IHDR", struct.pack(">IIBBBBB", 700, 2, 8, 0, 0, 0, 0)), (b"IDAT", stream), END)


def shrink_window(stream: bytes) -> bytes:
    """Returns a stream that says to need a window of 256 bytes only."""
    first = 0x08
    return bytes([first, 31 - first * 256 % 31]) + stream[2:]


PNG_FILES = {
    "sound": (join(HEADER, DATA, END), True),
    "bytes behind its end": (join(HEADER, DATA, END) + b"oops", True),
    "no end": (join(HEADER, DATA), False),
    "rows missing": (join(HEADER, (b"IDAT", zlib.compress(ROWS[:-100])), END), False),
    "too many rows": (join(HEADER, (b"IDAT", zlib.compress(ROWS + ROWS)), END), True),
    "bytes behind the rows": (join(HEADER, (b"IDAT", STREAM + b"oops"), END), True),
    "no checksum of the rows": (join(HEADER, (b"IDAT", STREAM[:-4]), END), False),
    "wrong checksum of the rows": (join(HEADER, (b"IDAT", STREAM[:-4] + b"oops"), END), False),
    "wrong checksum in a chunk of its own": (join(HEADER, (b"IDAT", STREAM[:-4]), (b"IDAT", b"oops"), END), True),
    "wrong checksum behind 8,192 bytes": (write_with_wrong_checksum(0), True),
    "wrong checksum after 8,193 bytes": (write_with_wrong_checksum(1), False),
    "unknown filter": (join(HEADER, (b"IDAT", zlib.compress(b"\x05" + ROWS[1:])), END), False),
    "distance of the rows within the window": (write_grey_rows(STREAM_OF_FAR_REPEATS), True),
    "distance of the rows beyond the window": (write_grey_rows(shrink_window(STREAM_OF_FAR_REPEATS)), False),
    "small window": (
        join(HEADER, (b"IDAT", (deflater := zlib.compressobj(wbits=9)).compress(ROWS) + deflater.flush()), END),
        True,
    ),
    "two headers": (join(HEADER, HEADER, DATA, END), False),
    "unknown chunk before the header": (join((b"abCd", b""), HEADER, DATA, END), True),
    "text before the header": (join((b"tEXt", b"a\0b"), HEADER, DATA, END), False),
    "unknown critical chunk": (join(HEADER, (b"ABCD", b""), DATA, END), False),
    "name of no letters": (join(HEADER, (b"ab1d", b""), DATA, END), False),
    "wrong checksum of a comment": (join(HEADER, (b"tEXt", b"a\0b"), DATA, END, wrong=b"tEXt"), True),
    "wrong checksum of data": (join(HEADER, DATA, END, wrong=b"IDAT"), False),
    "wrong checksum of the end": (join(HEADER, DATA, END, wrong=b"IEND"), False),
    "end with data": (join(HEADER, DATA, (b"IEND", b"oops")), True),
    "empty data chunks": (join(HEADER, (b"IDAT", b""), DATA, (b"IDAT", b""), END), True),
    "data behind another chunk": (
        join(HEADER, (b"IDAT", STREAM[:50]), (b"tIME", b""), (b"IDAT", STREAM[50:]), END),
        False,
    ),
    "data behind the data": (join(HEADER, DATA, (b"tIME", b""), (b"IDAT", b"oops"), (b"IDAT", b"oops"), END), True),
    "no palette": (join(PALETTE_HEADER, DATA, END), False),
    "palette": (join(PALETTE_HEADER, (b"PLTE", bytes(range(30))), DATA, END), True),
    "palette of 10 bytes": (join(PALETTE_HEADER, (b"PLTE", bytes(10)), DATA, END), False),
    "empty palette": (join(HEADER, (b"PLTE", b""), DATA, END), False),
    "palette of 10 bytes without use": (join(HEADER, (b"PLTE", bytes(10)), DATA, END), True),
    "two palettes": (join(HEADER, (b"PLTE", bytes(9)), DATA, (b"PLTE", bytes(9)), END), False),
    "bombs of a profile and a comment": (join(HEADER, (b"iCCP", BOMB), (b"zTXt", BOMB), DATA, END), True),
    "long comment": (join(HEADER, (b"tEXt", b"a\0" + bytes(9_000_000)), DATA, END), True),
    "16 bits with a palette": (join((b"IHDR", struct.pack(">IIBBBBB", 5, 5, 16, 3, 0, 0, 0)), DATA, END), False),
    "no width": (join((b"IHDR", struct.pack(">IIBBBBB", 0, 20, 8, 2, 0, 0, 0)), DATA, END), False),
    "too wide": (
        join(
            (b"IHDR", struct.pack(">IIBBBBB", 1_000_001, 1, 1, 0, 0, 0, 0)),
            (b"IDAT", zlib.compress(bytes(125_002))),
            END,
        ),
        False,
    ),
    "as wide as may be": (
        join(
            (b"IHDR", struct.pack(">IIBBBBB", 1_000_000, 1, 1, 0, 0, 0, 0)),
            (b"IDAT", zlib.compress(bytes(125_001))),
            END,
        ),
        True,
    ),
}


@pytest.mark.parametrize(("content", "is_decoded"), PNG_FILES.values(), ids=PNG_FILES.keys())
def test_png_files_are_accepted_if_tensorflow_decodes_them(content: bytes, is_decoded: bool) -> None:
    assert_agreement(content, is_decoded=is_decoded)


JPEG = encode("JPEG", "RGB", subsampling=0)
PROGRESSIVE = encode("JPEG", "RGB", progressive=True)
FRAME = JPEG.index(b"\xff\xc0")
SCAN = JPEG.index(b"\xff\xda")
# 8 x 8 grey pixels, all as predicted, which Pillow decodes.
LOSSLESS_TABLE = b"\xff\xc4\0\x14\0\1" + bytes(15) + b"\0"
LOSSLESS_SCAN = b"\xff\xda\0\x08\1\1\0\1\0\0" + bytes(8)
LOSSLESS = b"\xff\xd8\xff\xc3\0\x0b\x08\0\x08\0\x08\1\1\x11\0" + LOSSLESS_TABLE + LOSSLESS_SCAN + b"\xff\xd9"
TWO_COMPONENTS = b"\xff\xc0\0\x0e\x08\0\x32\0\x28\2\1\x11\0\2\x11\1"
JPEG_FILES = {
    "sound": (JPEG, True),
    "bytes behind its end": (JPEG + b"\xff\xd8oops", True),
    "no end": (JPEG[:-2], False),
    "half an end": (JPEG[:-1], False),
    "no end, progressive": (PROGRESSIVE[:-2], False),
    "rows missing": (JPEG[:-300] + JPEG[-2:], True),  # libjpeg fills them with grey
    "bytes between segments": (JPEG[:FRAME] + b"oops\xff\0" + JPEG[FRAME:], True),
    "filling between segments": (JPEG[:FRAME] + b"\xff\xff" + JPEG[FRAME:], True),
    "restart marker between segments": (JPEG[:FRAME] + b"\xff\xd3" + JPEG[FRAME:], True),
    "reserved marker between segments": (JPEG[:FRAME] + b"\xff\xf0\0\2" + JPEG[FRAME:], False),
    "comment of no length": (JPEG[:FRAME] + b"\xff\xfe\0\0" + JPEG[FRAME:], True),
    "comment beyond the end": (JPEG[:FRAME] + b"\xff\xfe\xff\xff" + JPEG[FRAME:], False),
    "broken EXIF data": (JPEG[:FRAME] + b"\xff\xe1\0\x0aExif\0\0II" + JPEG[FRAME:], True),
    "table of no length": (JPEG[:FRAME] + b"\xff\xc4\0\0" + JPEG[FRAME:], False),
    "two frames": (JPEG[:FRAME] + JPEG[FRAME : FRAME + 19] + JPEG[FRAME:], False),
    "no frame": (JPEG[:FRAME] + JPEG[FRAME + 19 :], False),
    "lossless": (LOSSLESS, False),
    "12 bits": (JPEG[: FRAME + 4] + b"\x0c" + JPEG[FRAME + 5 :], False),
    "two components": (JPEG[:FRAME] + TWO_COMPONENTS + JPEG[SCAN:], False),
    "no height": (JPEG[: FRAME + 5] + b"\0\0" + JPEG[FRAME + 7 :], False),
    "second start": (JPEG[:FRAME] + b"\xff\xd8" + JPEG[FRAME:], False),
    "cut off in a table behind the rows": (JPEG[:-2] + b"\xff\xdb\0\x43\0", True),
    "cut off in a comment behind the rows": (JPEG[:-2] + b"\xff\xfe\0\x43\0", False),
    "cut off in the length of a comment behind the rows": (JPEG[:-2] + b"\xff\xfe\0", True),
    "cut off in a frame behind the rows": (JPEG[:-2] + b"\xff\xc0\0\x11\x08", True),
    "cut off behind a marker behind the rows": (JPEG[:-2] + b"\xff\xdb", False),
    "cut off behind a comment behind the rows": (JPEG[:-2] + b"\xff\xfe\0\4oo", False),
    "cut off in a table, progressive": (PROGRESSIVE[:-2] + b"\xff\xdb\0\x43\0", False),
}


@pytest.mark.parametrize(("content", "is_decoded"), JPEG_FILES.values(), ids=JPEG_FILES.keys())
def test_jpeg_files_are_accepted_if_tensorflow_decodes_them(content: bytes, is_decoded: bool) -> None:
    assert_agreement(content, is_decoded=is_decoded)


def test_a_jpeg_file_of_many_scans_is_refused_unread() -> None:
    scan = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2]
    assert check_image(PROGRESSIVE[:-2] + 400 * scan + PROGRESSIVE[-2:]).format == "jpeg"
    with pytest.raises(NotAPosterError, match="broken image"):
        check_image(PROGRESSIVE[:-2] + 600 * scan + PROGRESSIVE[-2:])


@settings(deadline=None)
@given(st.binary(max_size=40), st.integers(0, 2000), st.sampled_from(["JPEG", "PNG", "AVIF", "WEBP", "DDS", "GIF"]))
def test_damaged_files_raise_no_other_error(noise: bytes, at: int, format: str) -> None:
    content = bytearray(encode(format, "RGB"))
    content[at : at + len(noise)] = noise
    # Any other exception fails the test.
    with contextlib.suppress(NotAPosterError):
        assert check_image(bytes(content)).format == format.lower()


MEASURE = """
import resource, sys
from pathlib import Path
from tasks.posters.images import check_image
content = Path(sys.argv[1]).read_bytes()
check_image(Path(sys.argv[2]).read_bytes())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
check_image(content)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, "tensorflow" in sys.modules)
"""


@pytest.mark.parametrize(("format", "max_megabytes"), [("PNG", 20), ("JPEG", 190)])
def test_memory_of_the_largest_image_is_bounded(tmp_path: Path, format: str, max_megabytes: int) -> None:
    """Without the pixels of a PNG file in memory, and with the coefficients of a JPEG file, 6 bytes a pixel."""
    large, small = (tmp_path / name for name in ("large", "small"))
    options = {"progressive": True, "subsampling": 0} if format == "JPEG" else {"compress_level": 1}
    Image.new("RGB", (4_000, MAX_PIXELS // 4_000), "red").save(large, format, **options)
    Image.new("RGB", (40, 60), "red").save(small, format)
    command = [sys.executable, "-c", MEASURE, str(large), str(small)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    kilobytes, has_tensorflow = done.stdout.split()
    assert int(kilobytes) < max_megabytes * 1024
    assert has_tensorflow == "False"
