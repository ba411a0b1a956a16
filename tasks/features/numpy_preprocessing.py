"""The preprocessing of `tasks.features.preprocessing` without TensorFlow: Pillow decodes, NumPy resizes.

The same pixels, but for the rounding of float32.
"""

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tasks.features.image_size import IMAGE_SIZE, MAX_PIXELS_AT_ONCE, NUM_CHANNELS, REDUCED_TIMES, ImageSize
from tasks.features.numpy_jpeg import decode_jpeg
from tasks.posters.images import NotAPosterError, parse_image
from tasks.posters.jpeg import JpegFile
from tasks.posters.png import PngFile

_STRIP_ROWS = 256


def prepare_images(images: Sequence[bytes], size: ImageSize = IMAGE_SIZE) -> NDArray[np.float32]:
    """Decodes and resizes images.

    Args:
        images: JPEG or PNG files.
        size: Height and width of the backbone's input.

    Returns:
        Pixels, shape `(len(images), *size, 3)`, 0-255.

    Raises:
        NotAPosterError: If `check_image` would not accept one of them.
    """
    pixels = np.empty((len(images), *size, NUM_CHANNELS), np.float32)
    for row, content in zip(pixels, images, strict=True):
        row[:] = resize_image(reduce_image(decode_image(content, size), size), size)
    return pixels


def decode_image(content: bytes, size: ImageSize = IMAGE_SIZE) -> NDArray[np.uint8]:
    """Decodes one image; a large JPEG file at a half, a quarter or an eighth. EXIF rotation and alpha are ignored.

    Args:
        content: JPEG or PNG file.
        size: Size that a JPEG file is decoded for.

    Returns:
        Pixels, shape `(height, width, 3)`, 0-255.

    Raises:
        NotAPosterError: If `check_image` would not accept the file, with the same reason.
    """
    image = parse_image(content)
    try:
        return decode_jpeg(image, size) if isinstance(image, JpegFile) else _decode_png(image)
    except ValueError as error:
        raise NotAPosterError("broken image") from error


def _decode_png(file: PngFile) -> NDArray[np.uint8]:
    with Image.open(file.rewrite(), formats=("PNG",)) as image:
        image.load()
    pixels = np.empty((file.height, file.width, NUM_CHANNELS), np.uint8)
    for top in range(0, file.height, _STRIP_ROWS):  # Pillow copies what it converts, and what it gives to NumPy
        strip = image.crop((0, top, file.width, min(top + _STRIP_ROWS, file.height)))
        if strip.mode.startswith("I"):
            # 16 bits of grey: the high byte, as of 16 bits of colour. Pillow's own conversion clips at 255.
            pixels[top : top + _STRIP_ROWS] = np.asarray(strip)[..., np.newaxis] >> 8
        else:
            pixels[top : top + _STRIP_ROWS] = np.asarray(strip.convert("RGB"))
    return pixels


def reduce_image(pixels: NDArray[np.uint8], size: ImageSize = IMAGE_SIZE) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Reduces a large image by whole factors, as `tasks.features.preprocessing.reduce_pixels` does.

    Args:
        pixels: Shape `(height, width, 3)`, 0-255.
        size: Size that it is resized to after this.

    Returns:
        The means of blocks of an image of more than `MAX_PIXELS_AT_ONCE`; any other unchanged.
    """
    height, width, _ = pixels.shape
    if height * width <= MAX_PIXELS_AT_ONCE:
        return pixels
    down, across = (
        max(side // (REDUCED_TIMES * wanted), 1) for side, wanted in zip((height, width), size, strict=True)
    )
    reduced = np.empty((height // down, width // across, NUM_CHANNELS), np.float32)
    for number, row in enumerate(reduced):
        strip = pixels[number * down : (number + 1) * down, : len(row) * across]
        row[:] = strip.sum(axis=0, dtype=np.int32).reshape(len(row), across, NUM_CHANNELS).sum(axis=1)
    reduced /= np.float32(down * across)
    return reduced


def resize_image(pixels: NDArray[np.uint8] | NDArray[np.float32], size: ImageSize = IMAGE_SIZE) -> NDArray[np.float32]:
    """Resizes one image to the backbone's input, bilinear; with antialiasing if a side is over twice as long.

    Args:
        pixels: Shape `(height, width, 3)`, 0-255.
        size: Height and width of the result.

    Returns:
        Shape `(*size, 3)`, 0-255.
    """
    height, width, _ = pixels.shape
    antialias = height > 2 * size[0] or width > 2 * size[1]
    rows = _resize_rows(pixels.reshape(height, width * NUM_CHANNELS), size[0], antialias=antialias)
    resized = np.empty((*size, NUM_CHANNELS), np.float32)
    for channel in range(NUM_CHANNELS):
        # Columns as rows, which are quicker to gather.
        columns = np.ascontiguousarray(rows[:, channel::NUM_CHANNELS].T)
        resized[..., channel] = _resize_rows(columns, size[1], antialias=antialias).T
    return resized


def _resize_rows(
    values: NDArray[np.uint8] | NDArray[np.float32], num_rows: int, *, antialias: bool
) -> NDArray[np.float32]:
    """Returns weighted means of neighbouring rows, shape `(num_rows, num_columns)`."""
    indices, weights = _weigh_neighbours(len(values), num_rows, antialias=antialias)
    total = np.zeros((num_rows, values.shape[1]), np.float32)
    for index, weight in zip(indices, weights, strict=True):
        total += np.multiply(values[index], weight[:, np.newaxis], dtype=np.float32)
    return total


@functools.lru_cache(maxsize=64)
def _weigh_neighbours(size: int, num_targets: int, *, antialias: bool) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Returns the source positions of each target position, and their weights, which sum to 1.

    A triangle around the centre of the target pixel; with antialiasing as wide as two target pixels, where these are
    larger than the source's. In float32 and in the order of TensorFlow's `ComputeSpans` (`scale_and_translate_op.cc`)
    and `HalfPixelScaler` (`image_resizer_state.h`), whose roundings make up to 0.01 of 255.

    Args:
        size: Number of source positions.
        num_targets: Number of target positions.
        antialias: Whether the triangle grows with the scale.

    Returns:
        Both of shape `(num_neighbours, num_targets)`.
    """
    half = np.float32(0.5)
    targets = np.arange(num_targets, dtype=np.float32) + half
    if antialias:
        step = 1 / (np.float32(num_targets) / np.float32(size))
        radius = max(step, np.float32(1))
        centres, offset = targets * step, half
    else:
        radius = np.float32(1)
        centres, offset = targets * (np.float32(size) / np.float32(num_targets)) - half, np.float32(0)
    starts = np.ceil(centres - offset - radius).astype(np.intp)
    positions = starts + np.arange(2 * int(np.ceil(radius)) + 1)[:, np.newaxis]
    distances = np.abs(positions.astype(np.float32) + offset - centres) / radius
    weights = np.where((positions >= 0) & (positions < size), np.maximum(1 - distances, np.float32(0)), np.float32(0))
    weights /= weights.sum(axis=0)
    used = weights.any(axis=1)
    return positions.clip(0, size - 1)[used], weights[used]
