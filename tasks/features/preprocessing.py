"""Decode and resize images to the backbone's input; the same code in training and in the exported graph.

A change here needs a new `tasks.versions.PREPROCESSING`.
"""

import functools
from typing import Any

import tensorflow as tf

from tasks.features.image_size import IMAGE_SIZE, MAX_PIXELS_AT_ONCE, NUM_CHANNELS, REDUCED_TIMES, ImageSize
from tasks.features.views import locate_view
from tasks.posters.png import PNG_SIGNATURE

JPEG_RATIOS = (1, 2, 4, 8)  # scales that libjpeg can decode at


def decode_poster(image_bytes: tf.Tensor, size: ImageSize = IMAGE_SIZE) -> tf.Tensor:
    """Decodes one image; a JPEG file at 1/2, 1/4 or 1/8 of its size, if that is still as large as the backbone's input.

    The JPEG format stores frequencies of blocks of 8 by 8 pixels, so a smaller image, each of its pixels the mean of
    many, takes less time than the full one.

    Args:
        image_bytes: JPEG or PNG file, string scalar.
        size: Height and width of the backbone's input.

    Returns:
        Pixels, uint8, 0-255, shape `(height, width, 3)`.

    Raises:
        tf.errors.InvalidArgumentError: If the bytes cannot be decoded, or are of another format.
    """
    pixels = tf.cond(
        tf.io.is_jpeg(image_bytes),
        lambda: _decode_jpeg(image_bytes, size),
        lambda: _decode_png(image_bytes),
    )
    pixels.set_shape([None, None, NUM_CHANNELS])
    return pixels


def _decode_jpeg(image_bytes: tf.Tensor, size: ImageSize) -> tf.Tensor:
    times = tf.reduce_min(tf.io.extract_jpeg_shape(image_bytes)[:2] // size)
    which = tf.reduce_sum(tf.cast(times >= JPEG_RATIOS[1:], tf.int32))
    return tf.switch_case(
        which, [lambda r=ratio: tf.io.decode_jpeg(image_bytes, NUM_CHANNELS, ratio=r) for ratio in JPEG_RATIOS]
    )


def _decode_png(image_bytes: tf.Tensor) -> tf.Tensor:
    is_png = tf.strings.substr(image_bytes, 0, len(PNG_SIGNATURE)) == PNG_SIGNATURE
    # The op decodes GIF and WebP files, too, which are posters nowhere else. Of no bytes it raises.
    return tf.io.decode_png(tf.where(is_png, image_bytes, b""), channels=NUM_CHANNELS)


def reduce_pixels(pixels: tf.Tensor, size: ImageSize = IMAGE_SIZE) -> tf.Tensor:
    """Reduces a large image by whole factors, so that no float32 copy of it is needed; returns any other unchanged.

    Args:
        pixels: Pixels, uint8, 0-255, shape `(height, width, 3)`.
        size: Size that it is resized to after this.

    Returns:
        Pixels, float32, 0-255: of an image of more than `MAX_PIXELS_AT_ONCE` means of blocks, without the rest of a
        block at the right and at the bottom.
    """
    height, width = tf.unstack(tf.shape(pixels)[:2])
    reduced = tf.cond(
        height * width > MAX_PIXELS_AT_ONCE, lambda: _average_blocks(pixels, size), lambda: tf.cast(pixels, tf.float32)
    )
    return tf.ensure_shape(reduced, [None, None, NUM_CHANNELS])


def _average_blocks(pixels: tf.Tensor, size: ImageSize) -> tf.Tensor:
    down, across = tf.unstack(tf.maximum(tf.shape(pixels)[:2] // (REDUCED_TIMES * tf.constant(size)), 1))
    num_rows, num_columns = tf.shape(pixels)[0] // down, tf.shape(pixels)[1] // across

    def sum_blocks(row: tf.Tensor) -> tf.Tensor:
        strip = pixels[row * down : (row + 1) * down, : num_columns * across]
        columns = tf.reduce_sum(tf.cast(strip, tf.int32), axis=0)
        return tf.reduce_sum(tf.reshape(columns, [num_columns, across, NUM_CHANNELS]), axis=1)

    spec = tf.TensorSpec([None, NUM_CHANNELS], tf.int32)
    sums = tf.map_fn(sum_blocks, tf.range(num_rows), fn_output_signature=spec)
    return tf.cast(sums, tf.float32) / tf.cast(down * across, tf.float32)


def resize_pixels(pixels: tf.Tensor, size: ImageSize = IMAGE_SIZE) -> tf.Tensor:
    """Resizes images to the backbone's input, without keeping their aspect ratio, as the article does.

    Args:
        pixels: Pixels of any number type, 0-255, shape `(height, width, 3)` or `(batch_size, height, width, 3)`.
        size: Height and width of the result.

    Returns:
        Pixels, float32, 0-255, shape `(*size, 3)` or `(batch_size, *size, 3)`.
    """
    pixels = tf.cast(pixels, tf.float32)

    def resize(*, antialias: bool) -> tf.Tensor:
        return tf.image.resize(pixels, size, method="bilinear", antialias=antialias)

    # Antialiasing doubles the time; without it, an image more than twice as large would be sampled at few pixels.
    resized = tf.cond(
        tf.reduce_any(tf.shape(pixels)[-3:-1] > 2 * tf.constant(size)),
        lambda: resize(antialias=True),
        lambda: resize(antialias=False),
    )
    return tf.ensure_shape(resized, [*pixels.shape[:-3], *size, NUM_CHANNELS])


def prepare_poster(image_bytes: tf.Tensor, size: ImageSize = IMAGE_SIZE) -> tf.Tensor:
    """Decodes and resizes one image: float32, 0-255, shape `(*size, 3)`."""
    return resize_pixels(reduce_pixels(decode_poster(image_bytes, size), size), size)


def prepare_posters(image_bytes: tf.Tensor, size: ImageSize = IMAGE_SIZE) -> tf.Tensor:
    """Decodes and resizes images one after the other: float32, 0-255, shape `(num_images, *size, 3)`."""
    return _trace_preparation(size)(image_bytes)


@functools.lru_cache
def _trace_preparation(size: ImageSize) -> Any:
    """Returns `prepare_posters` of a size as a graph, traced once."""
    spec = tf.TensorSpec([*size, NUM_CHANNELS], tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def prepare(image_bytes: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(lambda file: prepare_poster(file, size), image_bytes, fn_output_signature=spec)

    return prepare


def cut_view(pixels: tf.Tensor, view: int) -> tf.Tensor:
    """Cuts a view out of posters, and resizes it to their size.

    Args:
        pixels: Pixels, float32, 0-255, shape `(num_posters, height, width, 3)`; height and width are known.
        view: Number of the view.

    Returns:
        Pixels of the same shape.
    """
    size = pixels.shape[1], pixels.shape[2]
    (top, left, height, width), mirrored = locate_view(view, size)
    if (height, width) != size:
        cut = pixels[:, top : top + height, left : left + width]
        pixels = tf.ensure_shape(tf.image.resize(cut, size, method="bilinear"), pixels.shape)
    return tf.reverse(pixels, [2]) if mirrored else pixels
