import io

import numpy as np
import pytest
import tensorflow as tf
from broken_pictures import draw_png_without_its_last_rows
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tasks.export.inputs import blank_failed, prepare_files, prepare_pixels
from tasks.features.image_size import IMAGE_SIZE, ImageSize
from tasks.features.preprocessing import prepare_posters


def draw(height: int, width: int) -> NDArray[np.uint8]:
    """Waves of all lengths from 5 pixels on, in every colour, as a poster has them."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 40 + y / 60) + np.sin(x / 5) / 3, np.cos(y / 13) + np.cos(x * y / 9000), np.sin((x + y) / 25)]
    return (127.5 + 60 * np.stack(waves, -1)).clip(0, 255).astype(np.uint8)


def encode(pixels: NDArray[np.uint8], image_format: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, image_format, quality=90)
    return file.getvalue()


FILES = [encode(draw(300, 200)), encode(draw(90, 60), "PNG"), encode(draw(500, 900))]
FAULTS = {
    b"": "empty",
    b"<html>": "neither JPEG nor PNG",
    encode(draw(50, 50), "GIF"): "neither JPEG nor PNG",
    FILES[0][:2000]: "broken image",
    FILES[1][:-30]: "broken image",
    draw_png_without_its_last_rows(): "broken image",
}


def test_whole_files_are_prepared_as_in_training() -> None:
    pixels, errors = tf.function(prepare_files)(tf.constant(FILES), IMAGE_SIZE)
    np.testing.assert_array_equal(pixels, prepare_posters(tf.constant(FILES)))
    assert errors.numpy().tolist() == [b""] * 3
    pixels, errors = prepare_files(tf.constant([], tf.string), IMAGE_SIZE)
    assert (pixels.shape, errors.shape) == ((0, 224, 224, 3), (0,))


def test_broken_files_are_named_and_cost_no_other() -> None:
    files = [content for pair in zip(FAULTS, [*FILES, *FILES], strict=False) for content in pair]
    pixels, errors = prepare_files(tf.constant(files), IMAGE_SIZE)
    assert errors.numpy().astype(str).tolist() == [text for reason in FAULTS.values() for text in (reason, "")]
    np.testing.assert_array_equal(pixels[1::2], prepare_posters(tf.constant(files[1::2])))
    assert not pixels[::2].numpy().any()


def test_rows_of_broken_files_are_blank() -> None:
    outputs = {"labels": tf.constant([["a", "b"], ["c", ""]]), "score": tf.constant([1.0, 2.0])}
    blanked = blank_failed(outputs, tf.constant(["empty", ""]))
    assert blanked["labels"].numpy().tolist() == [[b"", b""], [b"c", b""]]
    assert blanked["score"].numpy().tolist() == [0, 2]
    assert blanked["error"].numpy().tolist() == [b"empty", b""]


def measure(height: int, width: int, size: ImageSize) -> NDArray[np.float32]:
    """Returns the differences between a JPEG file and its pixels, prepared, of 255."""
    content = encode(draw(height, width))
    decoded = np.asarray(Image.open(io.BytesIO(content)))
    pixels, _ = prepare_files(tf.constant([content]), size)
    return np.abs(pixels - prepare_pixels(tf.constant(decoded[np.newaxis]), size))


# One size in each range of scales; the rest of a block at an edge; and the largest.
@example(447, 447, IMAGE_SIZE)
@example(448, 449, IMAGE_SIZE)
@example(451, 667, IMAGE_SIZE)
@example(675, 1001, IMAGE_SIZE)
@example(903, 1351, IMAGE_SIZE)
@example(1799, 2700, IMAGE_SIZE)
@example(3000, 3000, IMAGE_SIZE)
@example(768, 512, (384, 256))
@example(1600, 511, (384, 256))
@settings(max_examples=6, deadline=None)
@given(st.integers(32, 3000), st.integers(32, 3000), st.sampled_from([IMAGE_SIZE, (384, 256)]))
def test_pixels_are_prepared_as_the_file_at_every_size(height: int, width: int, size: ImageSize) -> None:
    differences = measure(height, width, size)
    assert differences.mean() <= 1
    assert np.quantile(differences, 0.99) <= 6


def test_pixels_of_any_number_type_and_batches_of_any_size() -> None:
    images = np.stack([draw(900, 700), draw(900, 700)[::-1]])
    prepared = prepare_pixels(tf.constant(images), IMAGE_SIZE)
    assert (prepared.dtype, prepared.shape) == (tf.float32, (2, 224, 224, 3))
    np.testing.assert_allclose(prepare_pixels(tf.constant(images, tf.float32), IMAGE_SIZE), prepared, atol=1e-3)
    np.testing.assert_allclose(prepare_pixels(tf.constant(images[1:]), IMAGE_SIZE), prepared[1:], atol=1e-3)
    assert tf.function(prepare_pixels)(tf.constant(images[:0]), IMAGE_SIZE).shape == (0, 224, 224, 3)


@pytest.mark.parametrize("size", [448, 450])
def test_blocks_are_averaged_to_the_edge(size: int) -> None:
    pixels = np.zeros((1, size, size, 3), np.uint8)
    pixels[:, :, 1::2] = 200
    # Columns of 0 and 200, whose means are 100: not one of the two.
    np.testing.assert_allclose(prepare_pixels(tf.constant(pixels), IMAGE_SIZE), 100, atol=1e-3)
