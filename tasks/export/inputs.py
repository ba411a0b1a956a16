"""The inputs of the exported model: files, of which some may be broken, and pixels of any size."""

import tensorflow as tf

from tasks.features.image_size import NUM_CHANNELS, ImageSize
from tasks.features.preprocessing import JPEG_RATIOS, prepare_poster, resize_pixels
from tasks.posters.png import PNG_SIGNATURE

ERROR = "error"


def prepare_files(image_bytes: tf.Tensor, size: ImageSize) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes and resizes images as `tasks.features.preprocessing.prepare_posters` does, but none fails the others.

    Args:
        image_bytes: JPEG or PNG files, string, shape `(num_images,)`.
        size: Height and width of the backbone's input.

    Returns:
        Pixels, float32, 0-255, shape `(num_images, *size, 3)`, 0 for an image that cannot be decoded; and why it
        cannot, string, shape `(num_images,)`, "" where it can.
    """
    shape = (*size, NUM_CHANNELS)

    def prepare(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # A graph has no exceptions; a data set of one element leaves it out if it fails. That takes 0.4 ms an image.
        file = tf.data.Dataset.from_tensors(content)
        prepared = file.map(lambda file: (prepare_poster(file, size), True)).ignore_errors()
        failed = tf.data.Dataset.from_tensors((tf.zeros(shape), False))
        pixels, is_decoded = prepared.concatenate(failed).take(1).get_single_element()
        return pixels, is_decoded

    specs = (tf.TensorSpec(shape, tf.float32), tf.TensorSpec([], tf.bool))
    pixels, is_decoded = tf.map_fn(prepare, image_bytes, fn_output_signature=specs)
    return pixels, tf.where(is_decoded, "", _describe(image_bytes))


def _describe(image_bytes: tf.Tensor) -> tf.Tensor:
    is_png = tf.strings.substr(image_bytes, 0, len(PNG_SIGNATURE)) == PNG_SIGNATURE
    broken = tf.where(tf.io.is_jpeg(image_bytes) | is_png, "broken image", "neither JPEG nor PNG")
    return tf.where(tf.strings.length(image_bytes) == 0, "empty", broken)


def blank_failed(outputs: dict[str, tf.Tensor], errors: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns outputs with "" and 0 in the rows of images that have an error, and the errors as `error`.

    Args:
        outputs: Tensors by name, shape `(num_images, ...)`.
        errors: Errors as `prepare_files` returns them.
    """

    def blank(values: tf.Tensor) -> tf.Tensor:
        is_fine = tf.reshape(errors == "", [-1] + [1] * (len(values.shape) - 1))
        return tf.where(is_fine, values, "" if values.dtype == tf.string else tf.zeros([], values.dtype))

    return {**{name: blank(values) for name, values in outputs.items()}, ERROR: errors}


def prepare_pixels(images: tf.Tensor, size: ImageSize) -> tf.Tensor:
    """Resizes images of one size as if they were JPEG files.

    Large JPEG files are decoded at 1/2, 1/4 or 1/8, which gives the means of blocks of pixels (libjpeg's `jidctred.c`);
    so these are taken here, too. What is left are roundings, and the colours of files that store them at half the size.

    Args:
        images: Pixels of any number type, 0-255, shape `(num_images, height, width, 3)`.
        size: Height and width of the backbone's input.

    Returns:
        Pixels, float32, 0-255, shape `(num_images, *size, 3)`.
    """
    times = tf.reduce_min(tf.shape(images)[1:3] // size)
    which = tf.reduce_sum(tf.cast(times >= JPEG_RATIOS[1:], tf.int32))
    reduced = tf.switch_case(which, [lambda r=ratio: _average_blocks(images, r) for ratio in JPEG_RATIOS])
    return resize_pixels(reduced, size)


def _average_blocks(images: tf.Tensor, side: int) -> tf.Tensor:
    """Returns the means of square blocks; at the right and at the bottom, the last pixel fills the block."""
    if side == 1:
        return tf.cast(images, tf.float32)
    for axis in (1, 2):
        size = tf.shape(images)[axis]
        blocks = -(-size // side)
        images = tf.gather(images, tf.minimum(tf.range(blocks * side), size - 1), axis=axis)
        shape = tf.shape(images)
        split = tf.reshape(images, tf.concat([shape[:axis], [blocks, side], shape[axis + 1 :]], axis=0))
        images = tf.reduce_mean(tf.cast(split, tf.float32), axis=axis + 1)
    return images
