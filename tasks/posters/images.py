"""Check that received bytes are an image that the model's decoder accepts."""

import re
from dataclasses import dataclass
from typing import Literal

from tasks.posters.jpeg import JPEG_SIGNATURE, JpegFile, parse_jpeg
from tasks.posters.png import MAX_PNG_SIDE, PNG_SIGNATURE, PngFile, parse_png

ImageFormat = Literal["jpeg", "png"]

# A poster of 4,000 x 6,000 pixels. A file of some kilobytes may have more, and takes up to 8 bytes a pixel to check,
# the coefficients of a progressive CMYK file: 200 MB at this limit, in each worker and in each thread of training.
MAX_PIXELS = 25_000_000

# The first bytes of other formats, for the reason in the ledger. None of them is decoded, here or by the model.
_OTHER_FORMATS: dict[str, re.Pattern[bytes]] = {
    "gif": re.compile(rb"GIF8[79]a"),
    "webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "avif": re.compile(rb"....ftypavi[fs]", re.DOTALL),
    "heif": re.compile(rb"....ftyp(hei[cxfms]|hev[cxms]|mif1|msf1)", re.DOTALL),
    "bmp": re.compile(rb"BM....\0\0\0\0", re.DOTALL),
    "tiff": re.compile(rb"II[*+]\0|MM\0[*+]"),
    "dds": re.compile(rb"DDS "),
    "ico": re.compile(rb"\0\0[\1\2]\0[^\0]\0?", re.DOTALL),
    "psd": re.compile(rb"8BPS"),
    "jpeg2000": re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    "jpegxl": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"),
    "svg": re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg[\s>]", re.DOTALL),
}
_SIGNATURE_BYTES = 1024


class NotAPosterError(ValueError):
    """The bytes are no usable poster; `reason` is the reason as the ledger has it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class ImageInfo:
    """Format and size, in pixels, of a decoded image."""

    format: ImageFormat
    width: int
    height: int


def check_image(content: bytes, min_side_pixels: int = 1) -> ImageInfo:
    """Decodes an image to its end, as proof that TensorFlow can decode it.

    Args:
        content: Bytes of the file.
        min_side_pixels: Minimum of width and height.

    Returns:
        The image's format and size.

    Raises:
        NotAPosterError: With the reason `empty`, `not an image`, `format gif` (or another that is neither JPEG nor
            PNG), `too many pixels`, `too small` or `broken image`.
    """
    image = parse_image(content, min_side_pixels)
    try:
        if isinstance(image, JpegFile):
            # The whole file is read, as for the full image, but only an eighth of the pixels each way is computed.
            image.decode_components(ratio=8)
            return ImageInfo("jpeg", image.width, image.height)
        for _ in image.read_rows():
            pass
        return ImageInfo("png", image.width, image.height)
    except ValueError as error:
        raise NotAPosterError("broken image") from error


def parse_image(content: bytes, min_side_pixels: int = 1) -> JpegFile | PngFile:
    """Reads the header of an image, whose pixels may yet be broken; MPO is a JPEG file, APNG a PNG file.

    Args:
        content: Bytes of the file.
        min_side_pixels: Minimum of width and height.

    Raises:
        NotAPosterError: See `check_image`.
    """
    try:
        if content.startswith(JPEG_SIGNATURE):
            image: JpegFile | PngFile = parse_jpeg(content)
            max_side = MAX_PIXELS
        elif content.startswith(PNG_SIGNATURE):
            image = parse_png(content)
            max_side = MAX_PNG_SIDE
        else:
            raise NotAPosterError(_describe(content))
    except NotAPosterError:
        raise
    except ValueError as error:
        raise NotAPosterError("broken image") from error
    if image.width * image.height > MAX_PIXELS or max(image.width, image.height) > max_side:
        raise NotAPosterError("too many pixels")
    if min(image.width, image.height) < min_side_pixels:
        raise NotAPosterError("too small")
    return image


def _describe(content: bytes) -> str:
    """Returns the reason for bytes that are neither a JPEG nor a PNG file."""
    if not content:
        return "empty"
    start = content[:_SIGNATURE_BYTES]
    for name, pattern in _OTHER_FORMATS.items():
        if pattern.match(start):
            return f"format {name}"
    return "not an image"
