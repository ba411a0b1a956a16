import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tasks.features.preprocessing import cut_view, decode_poster, prepare_poster, prepare_posters, resize_pixels
from tasks.features.views import locate_view


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_decodes_to_the_exact_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8)
    np.testing.assert_array_equal(decode_poster(tf.constant(png(pixels))), pixels)


def test_grey_and_transparent_images_have_three_channels() -> None:
    grey = np.full((10, 8), 77, np.uint8)
    np.testing.assert_array_equal(decode_poster(tf.constant(png(grey))), np.full((10, 8, 3), 77))
    transparent = np.dstack([np.full((10, 8, 3), 50, np.uint8), np.zeros((10, 8), np.uint8)])
    np.testing.assert_array_equal(decode_poster(tf.constant(png(transparent))), np.full((10, 8, 3), 50))


def jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.mark.parametrize(
    ("size", "decoded"),
    [
        ((447, 448), (447, 448)),  # half of it would be less than the backbone's 224
        ((448, 449), (224, 225)),
        ((900, 1801), (225, 451)),
        ((1792, 4000), (224, 500)),
    ],
)
def test_a_large_jpeg_is_decoded_at_a_fraction_that_leaves_enough(
    size: tuple[int, int], decoded: tuple[int, int]
) -> None:
    assert decode_poster(tf.constant(jpeg(np.zeros((*size, 3), np.uint8)))).shape == (*decoded, 3)


@pytest.mark.parametrize("size", [(268, 182), (470, 300), (900, 600), (3000, 2000)])
def test_posters_of_any_size_are_as_pillow_resizes_them(size: tuple[int, int]) -> None:
    """Smooth colours: what a resize at a few sampled pixels, or at the wrong fraction, would not give."""
    y, x = np.mgrid[0 : 1 : complex(size[0]), 0 : 1 : complex(size[1])]
    waves = [127.5 + 120 * np.sin(7 * x + 5 * y), 255 * x, 255 * (1 - y)]
    fine = 20 * (-1.0) ** np.add(*np.indices(size))[..., np.newaxis]  # a checkerboard, of which none is left
    pixels = np.clip(np.stack(waves, -1) + (fine if max(size) > 500 else 0), 0, 255).astype(np.uint8)
    expected = Image.fromarray(pixels).resize((224, 224), Image.Resampling.BILINEAR)
    assert np.abs(prepare_poster(tf.constant(jpeg(pixels))) - np.asarray(expected, float)).mean() < 2


def test_a_flat_image_stays_flat_and_the_range_stays_0_to_255() -> None:
    prepared = prepare_poster(tf.constant(png(np.full((268, 182, 3), 200, np.uint8))))
    assert (prepared.dtype, prepared.shape) == (tf.float32, (224, 224, 3))
    np.testing.assert_allclose(prepared, 200.0, atol=1e-3)


def test_batches_and_single_images_of_any_number_type_agree() -> None:
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


def test_bytes_that_are_no_image_raise() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_poster(tf.constant(b"<html>"))


def test_views_are_parts_of_the_prepared_poster() -> None:
    pixels = tf.constant(np.random.default_rng(0).random((2, 96, 64, 3), np.float32) * 255)
    np.testing.assert_array_equal(cut_view(pixels, 0), pixels)
    for view in (1, 2):
        (top, left, height, width), mirrored = locate_view(view, (96, 64))
        expected = tf.image.resize(pixels[:, top : top + height, left : left + width], (96, 64))
        assert mirrored == (view == 1)
        np.testing.assert_array_equal(cut_view(pixels, view), expected[:, :, ::-1] if mirrored else expected)


@pytest.mark.parametrize("size", [(224, 224), (384, 256), (96, 128)])
def test_every_size_of_the_backbones_input(size: tuple[int, int]) -> None:
    poster = png(np.full((268, 182, 3), 200, np.uint8))
    assert prepare_poster(tf.constant(poster), size).shape == (*size, 3)
    prepared = prepare_posters(tf.constant([poster, poster]), size)
    assert prepared.shape == (2, *size, 3)
    np.testing.assert_allclose(prepared, 200, atol=1e-3)
