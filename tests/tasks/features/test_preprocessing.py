import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tasks.features.preprocessing import decode_poster, prepare_poster, resize_pixels


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_decodes_to_the_very_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8)
    np.testing.assert_array_equal(decode_poster(tf.constant(png(pixels))), pixels)


def test_grey_and_transparent_pictures_get_three_channels() -> None:
    grey = np.full((10, 8), 77, np.uint8)
    np.testing.assert_array_equal(decode_poster(tf.constant(png(grey))), np.full((10, 8, 3), 77))
    transparent = np.dstack([np.full((10, 8, 3), 50, np.uint8), np.zeros((10, 8), np.uint8)])
    np.testing.assert_array_equal(decode_poster(tf.constant(png(transparent))), np.full((10, 8, 3), 50))


def test_a_flat_picture_stays_flat_and_the_range_stays_0_to_255() -> None:
    prepared = prepare_poster(tf.constant(png(np.full((268, 182, 3), 200, np.uint8))))
    assert (prepared.dtype, prepared.shape) == (tf.float32, (224, 224, 3))
    np.testing.assert_allclose(prepared, 200.0, atol=1e-3)


def test_batches_and_single_pictures_of_any_number_type_agree() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 300, 100, 3), np.uint8)
    batch = resize_pixels(tf.constant(pixels))
    assert batch.shape == (2, 224, 224, 3)
    np.testing.assert_allclose(resize_pixels(tf.constant(pixels[1])), batch[1])
    np.testing.assert_allclose(resize_pixels(tf.constant(pixels.astype(np.float64))), batch)


def test_eagerly_and_in_a_graph() -> None:
    poster = png(np.random.default_rng(0).integers(0, 256, (268, 182, 3), np.uint8))
    (mapped,) = tf.data.Dataset.from_tensors(poster).map(prepare_poster)
    assert mapped.shape == (224, 224, 3)
    np.testing.assert_array_equal(mapped, prepare_poster(tf.constant(poster)))


def test_what_is_no_picture_raises() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_poster(tf.constant(b"<html>"))
