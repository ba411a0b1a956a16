"""From the bytes of a poster to the pixels the backbone sees; the same code in training and in the exported graph.

A change here is a new `tasks.versions.PREPROCESSING`.
"""

import tensorflow as tf

IMAGE_SIZE = 224  # pixels, both sides: what the backbone was trained on
NUM_CHANNELS = 3
_JPEG_RATIOS = (1, 2, 4, 8)  # what libjpeg scales by while it decodes


def decode_poster(image_bytes: tf.Tensor) -> tf.Tensor:
    """Decodes one poster; a JPEG file at a half, a quarter or an eighth where that leaves enough for the backbone.

    The JPEG format stores frequencies of 8 by 8 pixels, so that a smaller picture, each of its pixels the mean of many,
    takes less time than the whole.

    Args:
        image_bytes: string scalar, JPEG or PNG.

    Returns:
        uint8 pixels, shape `(height, width, 3)`, 0-255.

    Raises:
        tf.errors.InvalidArgumentError: if the bytes are no picture.
    """
    pixels = tf.cond(
        tf.io.is_jpeg(image_bytes),
        lambda: _decode_jpeg(image_bytes),
        lambda: tf.io.decode_image(image_bytes, channels=NUM_CHANNELS, expand_animations=False),
    )
    pixels.set_shape([None, None, NUM_CHANNELS])
    return pixels


def _decode_jpeg(image_bytes: tf.Tensor) -> tf.Tensor:
    times = tf.reduce_min(tf.io.extract_jpeg_shape(image_bytes)[:2]) // IMAGE_SIZE
    which = tf.reduce_sum(tf.cast(times >= _JPEG_RATIOS[1:], tf.int32))
    return tf.switch_case(
        which, [lambda r=ratio: tf.io.decode_jpeg(image_bytes, NUM_CHANNELS, ratio=r) for ratio in _JPEG_RATIOS]
    )


def resize_pixels(pixels: tf.Tensor) -> tf.Tensor:
    """Squashes pictures to the backbone's square, as the article does.

    Args:
        pixels: any number type, 0-255, shape `(height, width, 3)` or `(batch_size, height, width, 3)`.

    Returns:
        float32, 0-255, shape `(224, 224, 3)` or `(batch_size, 224, 224, 3)`.
    """
    pixels = tf.cast(pixels, tf.float32)

    def resize(*, antialias: bool) -> tf.Tensor:
        return tf.image.resize(pixels, (IMAGE_SIZE, IMAGE_SIZE), method="bilinear", antialias=antialias)

    # Without antialiasing, which doubles the time, a picture over twice as large would be sampled at few pixels.
    resized = tf.cond(
        tf.reduce_max(tf.shape(pixels)[-3:-1]) > 2 * IMAGE_SIZE,
        lambda: resize(antialias=True),
        lambda: resize(antialias=False),
    )
    return tf.ensure_shape(resized, [*pixels.shape[:-3], IMAGE_SIZE, IMAGE_SIZE, NUM_CHANNELS])


def prepare_poster(image_bytes: tf.Tensor) -> tf.Tensor:
    """Decodes and resizes one poster: float32, shape `(224, 224, 3)`, 0-255."""
    return resize_pixels(decode_poster(image_bytes))


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def prepare_posters(image_bytes: tf.Tensor) -> tf.Tensor:
    """Decodes and resizes posters one after the other: float32, shape `(num_posters, 224, 224, 3)`, 0-255."""
    spec = tf.TensorSpec([IMAGE_SIZE, IMAGE_SIZE, NUM_CHANNELS], tf.float32)
    return tf.map_fn(prepare_poster, image_bytes, fn_output_signature=spec)
