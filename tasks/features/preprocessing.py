"""From the bytes of a poster to the pixels the backbone sees; the same code in training and in the exported graph.

A change here is a new `tasks.versions.PREPROCESSING`.
"""

import tensorflow as tf

IMAGE_SIZE = 224  # pixels, both sides: what the backbone was trained on
NUM_CHANNELS = 3


def decode_poster(image_bytes: tf.Tensor) -> tf.Tensor:
    """Decodes one poster.

    Args:
        image_bytes: string scalar, JPEG or PNG.

    Returns:
        uint8 pixels, shape `(height, width, 3)`, 0-255.

    Raises:
        tf.errors.InvalidArgumentError: if the bytes are no picture.
    """
    pixels = tf.io.decode_image(image_bytes, channels=NUM_CHANNELS, expand_animations=False)
    pixels.set_shape([None, None, NUM_CHANNELS])
    return pixels


def resize_pixels(pixels: tf.Tensor) -> tf.Tensor:
    """Squashes pictures to the backbone's square, as the article does.

    Args:
        pixels: any number type, 0-255, shape `(height, width, 3)` or `(batch_size, height, width, 3)`.

    Returns:
        float32, 0-255, shape `(224, 224, 3)` or `(batch_size, 224, 224, 3)`.
    """
    # Antialiased: a poster much larger than the square would else be sampled at a few of its pixels.
    resized = tf.image.resize(tf.cast(pixels, tf.float32), (IMAGE_SIZE, IMAGE_SIZE), method="bilinear", antialias=True)
    return tf.ensure_shape(resized, [*resized.shape[:-3], IMAGE_SIZE, IMAGE_SIZE, NUM_CHANNELS])


def prepare_poster(image_bytes: tf.Tensor) -> tf.Tensor:
    """Decodes and resizes one poster: float32, shape `(224, 224, 3)`, 0-255."""
    return resize_pixels(decode_poster(image_bytes))


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def prepare_posters(image_bytes: tf.Tensor) -> tf.Tensor:
    """Decodes and resizes posters one after the other: float32, shape `(num_posters, 224, 224, 3)`, 0-255."""
    spec = tf.TensorSpec([IMAGE_SIZE, IMAGE_SIZE, NUM_CHANNELS], tf.float32)
    return tf.map_fn(prepare_poster, image_bytes, fn_output_signature=spec)
