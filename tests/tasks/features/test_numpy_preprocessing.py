"""Without TensorFlow images become the same pixels as with it."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tasks.features.numpy_preprocessing import decode_image, prepare_images, resize_image
from tasks.features.preprocessing import decode_poster, prepare_posters, resize_pixels
from tasks.posters.images import NotAPosterError

SIZES = [(1, 1), (40, 30), (182, 268), (223, 224), (225, 447), (448, 300), (449, 450), (895, 1300), (896, 1344)]
# Pixels after resizing differ by the rounding of float32.
TOLERANCE = 0.02


def draw(width: int, height: int) -> Image.Image:
    """Smooth colours with noise and an edge: what a DCT, smoothed chroma and antialiasing each change."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([255 * x / max(1, width - 1), 255 * y / max(1, height - 1), 128 + 100 * np.sin(x / 3)], axis=-1)
    pixels += np.random.default_rng(width).normal(0, 20, pixels.shape)
    pixels[height // 2 :, width // 3 :, 0] = 255 - pixels[height // 2 :, width // 3 :, 0]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encode(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def make_16_bit(mode: str) -> bytes:
    shape = (50, 40) if mode == "grey" else (50, 40, 3)
    pixels = np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)
    return bytes(tf.io.encode_png(pixels.reshape(50, 40, -1)).numpy())


COLOUR = draw(90, 130)
FILES = {
    "jpeg": encode(COLOUR, format="JPEG", quality=85),
    "jpeg 4:4:4": encode(COLOUR, format="JPEG", subsampling=0),
    "jpeg 4:2:2": encode(COLOUR, format="JPEG", subsampling=1),
    "jpeg, odd size": encode(draw(91, 133), format="JPEG", quality=60),
    "progressive jpeg": encode(COLOUR, format="JPEG", progressive=True),
    "grey jpeg": encode(COLOUR.convert("L"), format="JPEG"),
    "cmyk jpeg": encode(COLOUR.convert("CMYK"), format="JPEG"),
    "png": encode(COLOUR, format="PNG"),
    "rgba png": encode(COLOUR.convert("RGBA"), format="PNG"),
    "grey png": encode(COLOUR.convert("L"), format="PNG"),
    "grey png with alpha": encode(COLOUR.convert("LA"), format="PNG"),
    "palette png": encode(COLOUR.quantize(32), format="PNG"),
    "transparent palette png": encode(COLOUR.quantize(32), format="PNG", transparency=3),
    "black and white png": encode(COLOUR.convert("1"), format="PNG"),
    "16-bit grey png": make_16_bit("grey"),
    "16-bit png": make_16_bit("colour"),
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())
def test_every_kind_of_file_is_decoded_to_the_same_pixels(content: bytes) -> None:
    np.testing.assert_array_equal(decode_image(content), decode_poster(tf.constant(content)))


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_every_size_is_prepared_to_the_same_pixels(width: int, height: int, kind: str) -> None:
    content = encode(draw(width, height), format=kind)
    np.testing.assert_allclose(prepare_images([content]), prepare_posters(tf.constant([content])), atol=TOLERANCE)


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 700), height=st.integers(1, 700))
def test_resizing_is_tensorflows(width: int, height: int) -> None:
    pixels: NDArray[np.uint8] = np.random.default_rng(width).integers(0, 256, (height, width, 3)).astype(np.uint8)
    np.testing.assert_allclose(resize_image(pixels), resize_pixels(tf.constant(pixels)), atol=TOLERANCE)


@pytest.mark.real_posters
def test_real_posters_are_prepared_to_the_same_pixels(real_posters: Path) -> None:
    contents = [path.read_bytes() for path in sorted((real_posters / "posters").iterdir())[:100]]
    np.testing.assert_allclose(prepare_images(contents), prepare_posters(tf.constant(contents)), atol=TOLERANCE)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>", "not an image"),
        (b"", "empty"),
        (FILES["jpeg"][: len(FILES["jpeg"]) // 2], "broken image"),
        (FILES["png"][: len(FILES["png"]) // 2], "broken image"),
        (encode(COLOUR, format="GIF"), "format gif"),
    ],
)
def test_files_that_are_no_image_have_a_reason(content: bytes, reason: str) -> None:
    with pytest.raises(NotAPosterError, match=reason):
        decode_image(content)


def test_nothing_of_tensorflow_is_imported() -> None:
    script = (
        "import sys, tasks.features.litert, tasks.features.numpy_preprocessing\n"
        "print(sorted({'tensorflow', 'keras', 'prefect', 'sklearn', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
