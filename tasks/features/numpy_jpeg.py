"""Decode JPEG files with Pillow to exactly the pixels that TensorFlow decodes.

Both use libjpeg-turbo, with different options. TensorFlow takes the fast inverse DCT and smooth chroma; Pillow has
either the exact DCT with smooth chroma, or (the second value of `decoderconfig`) the fast one with repeated chroma. The
two DCTs differ by up to 6 of 255, which changes decisions of a model. So the fast DCT is used, components are taken as
they are stored, and the last two steps of libjpeg, smoothing and colour conversion, are done here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tasks.features.image_size import ImageSize
from tasks.posters.jpeg import JpegFile

_DCT_SIZE = 8
_RATIOS = (8, 4, 2, 1)  # scales that libjpeg can decode at

ColorSpace = Literal["grey", "rgb", "ycc", "cmyk", "ycck"]


@dataclass(frozen=True)
class _Repeats:
    """How often a stored value of a component is repeated across and down, and whether libjpeg would smooth it."""

    across: int
    down: int
    smooth: bool


def decode_jpeg(image: JpegFile, size: ImageSize) -> NDArray[np.uint8]:
    """Decodes a JPEG file, at a half, a quarter or an eighth where both sides stay as long as those of a size.

    Args:
        image: File whose header was read.
        size: Height and width that are needed.

    Returns:
        Pixels, shape `(height, width, 3)`, 0-255.

    Raises:
        ValueError: If the file is truncated or broken.
    """
    times = min(image.height // size[0], image.width // size[1])
    ratio = next((ratio for ratio in _RATIOS if ratio <= times), 1)
    decoded = np.asarray(image.decode_components(ratio))
    planes = [decoded] if decoded.ndim == 2 else [decoded[..., component] for component in range(decoded.shape[2])]
    repeats = _find_repeats(image.components, ratio, image.width)
    smoothed = [_smooth(plane, repeat) for plane, repeat in zip(planes, repeats, strict=True)]
    return _to_rgb(smoothed, _find_color_space(image), has_adobe_marker=image.adobe_transform is not None)


def _find_color_space(image: JpegFile) -> ColorSpace:
    """Returns the stored components' space by the rules of libjpeg's `default_decompress_parms`."""
    ids = [number for number, _, _ in image.components]
    if len(ids) == 1:
        return "grey"
    if len(ids) == 4:
        return "ycck" if image.adobe_transform else "cmyk"
    if image.has_jfif_marker:
        return "ycc"
    if image.adobe_transform is not None:
        return "rgb" if image.adobe_transform == 0 else "ycc"
    return "rgb" if ids == list(b"RGB") else "ycc"


def _find_repeats(components: Sequence[tuple[int, int, int]], ratio: int, width: int) -> list[_Repeats]:
    """Returns what libjpeg's `jpeg_calc_output_dimensions` and `jinit_upsampler` decide for each component.

    Args:
        components: Components of the file: number, samples across, samples down.
        ratio: Ratio of decoding, 1, 2, 4 or 8.
        width: Width of the whole picture in pixels.
    """
    most_across, most_down = (max(component[index] for component in components) for index in (1, 2))
    smallest = _DCT_SIZE // ratio
    repeats = []
    for _, across, down in components:
        # A component of few samples is scaled less than the others, so that fewer or none have to be made up.
        size = smallest
        while (
            size < _DCT_SIZE
            and most_across * smallest % (across * size * 2) == 0
            and most_down * smallest % (down * size * 2) == 0
        ):
            size *= 2
        columns = -(-width * across * size // (most_across * _DCT_SIZE))
        times = (most_across * smallest // (across * size), most_down * smallest // (down * size))
        smooth = smallest > 1 and (times == (1, 2) or (times in ((2, 1), (2, 2)) and columns > 2))
        repeats.append(_Repeats(*times, smooth=smooth))
    return repeats


def _smooth(plane: NDArray[np.uint8], repeats: _Repeats) -> NDArray[np.uint8]:
    """Puts smoothed values in place of repeated ones: three quarters the nearer, one quarter the next, as `jdsample.c`.

    Args:
        plane: One component, shape `(height, width)`.
        repeats: How it was upsampled.
    """
    if not repeats.smooth:
        return plane
    height, width = plane.shape
    values = plane[:: repeats.down, :: repeats.across].astype(np.uint16)
    if repeats.across == 1:
        doubled = _double(values, 0, (1, 2)) >> 2
    elif repeats.down == 1:
        doubled = _double(values, 1, (1, 2)) >> 2
    else:
        doubled = _double(_double(values, 0, (0, 0)), 1, (8, 7)) >> 4
    return doubled[:height, :width].astype(np.uint8)


def _double(values: NDArray[np.uint16], axis: int, biases: tuple[int, int]) -> NDArray[np.uint16]:
    """Returns two values for each: three times itself plus the one before, and plus the one after; an edge repeats.

    Args:
        values: Shape `(height, width)`.
        axis: Axis that becomes twice as long.
        biases: Addends of the first and of the second value, for rounding.
    """
    shape = list(values.shape)
    shape[axis] *= 2
    doubled = np.empty(shape, np.uint16)
    source, target = values.swapaxes(0, axis), doubled.swapaxes(0, axis)  # views
    first, second = target[0::2], target[1::2]
    triple = 3 * source
    np.add(triple, biases[0], out=first)
    first[1:] += source[:-1]
    first[0] += source[0]
    np.add(triple, biases[1], out=second)
    second[:-1] += source[1:]
    second[-1] += source[-1]
    return doubled


def _to_rgb(planes: list[NDArray[np.uint8]], color_space: ColorSpace, *, has_adobe_marker: bool) -> NDArray[np.uint8]:
    """Converts components to RGB: by libjpeg's `jdcolor.c`, and from CMYK as TensorFlow does (`jpeg_mem.cc`)."""
    if color_space == "grey":
        return np.repeat(planes[0][..., np.newaxis], 3, axis=2)
    if color_space == "rgb":
        return np.stack(planes, axis=-1)
    if color_space == "ycc":
        return _ycc_to_rgb(*planes)
    inks = 255 - _ycc_to_rgb(*planes[:3]) if color_space == "ycck" else np.stack(planes[:3], axis=-1)
    light = np.concatenate([inks, planes[3][..., np.newaxis]], axis=-1).astype(np.int32)
    if not has_adobe_marker:  # Adobe's programs store inks inverted.
        light = 255 - light
    return (light[..., :3] * light[..., 3:] // 255).astype(np.uint8)


def _ycc_to_rgb(y: NDArray[np.uint8], cb: NDArray[np.uint8], cr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Converts YCbCr to RGB with 16 bits behind the point, bit for bit as libjpeg does."""
    rgb = np.empty((*y.shape, 3), np.uint8)
    bright = (y.astype(np.int32) << 16) + (1 << 15)
    blueness, redness = cb.astype(np.int32) - 128, cr.astype(np.int32) - 128
    channel = redness * _to_fixed(1.402) + bright
    _put(channel, rgb[..., 0])
    channel = blueness * _to_fixed(1.772) + bright
    _put(channel, rgb[..., 2])
    bright -= blueness * _to_fixed(0.34414)
    bright -= redness * _to_fixed(0.71414)
    _put(bright, rgb[..., 1])
    return rgb


def _put(fixed: NDArray[np.int32], channel: NDArray[np.uint8]) -> None:
    fixed >>= 16
    channel[...] = fixed.clip(0, 255, out=fixed)


def _to_fixed(factor: float) -> int:
    return int(factor * 65536 + 0.5)
