"""Check that the bytes a server gave are a poster the model can be shown."""

import io
import struct
import warnings
from dataclasses import dataclass
from typing import Literal, cast

from PIL import Image, UnidentifiedImageError

ImageFormat = Literal["jpeg", "png"]

# What Pillow calls the formats that TensorFlow's decoder shares with it. MPO is a JPEG with further frames behind it.
_FORMATS: dict[str, ImageFormat] = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png"}
# A 6,000 x 9,000 scan; beyond it a few kilobytes can unpack to gigabytes.
_MAX_PIXELS = 54_000_000


class NotAPosterError(ValueError):
    """The bytes are no usable poster; `reason` says why, in the ledger's words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class ImageInfo:
    """What is known of a picture once it was decoded. Sizes in pixels."""

    format: ImageFormat
    width: int
    height: int


def check_image(content: bytes, min_side_pixels: int = 1) -> ImageInfo:
    """Decodes a picture to its end, to know that it is one.

    Args:
        content: the bytes of a file.
        min_side_pixels: the shortest side that counts as a poster.

    Raises:
        NotAPosterError: with the reason `empty`, `not an image`, `format gif` (or another that is not JPEG or PNG),
            `too many pixels`, `too small` or `broken image`.
    """
    if not content:
        raise NotAPosterError("empty")
    try:
        with warnings.catch_warnings():
            # Pillow warns of broken EXIF data and large pictures; the first is no matter, the second is checked here.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                return _decode(image, content, min_side_pixels)
    except UnidentifiedImageError as error:
        raise NotAPosterError("not an image") from error
    except Image.DecompressionBombError as error:
        raise NotAPosterError("too many pixels") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError) as error:
        # What Pillow's decoders raise on broken data.
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
    size = image.size
    if _FORMATS[name] == "jpeg":
        # All of the file is read, as for the whole picture; of the pixels an eighth each way is worked out.
        image.draft(image.mode, (1, 1))
    image.load()
    if name == "PNG":
        # Pillow loads picture data whose checksums are wrong, TensorFlow does not.
        with Image.open(io.BytesIO(content)) as again:
            again.verify()
    return ImageInfo(_FORMATS[name], *size)
