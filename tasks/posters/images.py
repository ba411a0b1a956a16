"""Check that received bytes are an image that the model's decoder accepts."""

import io
import struct
import warnings
from dataclasses import dataclass
from typing import Literal, cast

from PIL import Image, UnidentifiedImageError

ImageFormat = Literal["jpeg", "png"]

# Pillow's names of the formats that TensorFlow's decoder supports, too. MPO is a JPEG followed by further frames.
_FORMATS: dict[str, ImageFormat] = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png"}
# A 6,000 x 9,000 scan; beyond it a few kilobytes can unpack to gigabytes.
_MAX_PIXELS = 54_000_000


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
    """Decodes an image to its end, as proof that it can be decoded.

    Args:
        content: Bytes of the file.
        min_side_pixels: Minimum of width and height.

    Returns:
        The image's format and size.

    Raises:
        NotAPosterError: With the reason `empty`, `not an image`, `format gif` (or another that is neither JPEG nor
            PNG), `too many pixels`, `too small` or `broken image`.
    """
    if not content:
        raise NotAPosterError("empty")
    try:
        with warnings.catch_warnings():
            # Pillow warns of broken EXIF data, which does no harm, and of large images, which are rejected below.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                return _decode(image, content, min_side_pixels)
    except UnidentifiedImageError as error:
        raise NotAPosterError("not an image") from error
    except Image.DecompressionBombError as error:
        raise NotAPosterError("too many pixels") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError) as error:
        # The errors of Pillow's decoders for broken data.
        if isinstance(error, NotAPosterError):
            raise
        raise NotAPosterError("broken image") from error


def _decode(image: Image.Image, content: bytes, min_side_pixels: int) -> ImageInfo:
    name = cast("str", image.format)
    if name not in _FORMATS:
        raise NotAPosterError(f"format {name.lower()}")
    if image.width * image.height > _MAX_PIXELS:
        raise NotAPosterError("too many pixels")
    if min(image.size) < min_side_pixels:
        raise NotAPosterError("too small")
    info = ImageInfo(_FORMATS[name], width=image.width, height=image.height)  # before draft changes the size
    if info.format == "jpeg":
        # The whole file is read, as for the full image, but only an eighth of the pixels each way is computed.
        image.draft(image.mode, (1, 1))
    image.load()
    if name == "PNG":
        # Pillow loads image data with wrong checksums, TensorFlow does not.
        with Image.open(io.BytesIO(content)) as again:
            again.verify()
    return info
