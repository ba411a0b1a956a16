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

from tasks.features import numpy_preprocessing, preprocessing
from tasks.features.image_size import MAX_PIXELS_AT_ONCE
from tasks.features.numpy_preprocessing import decode_image, prepare_images, reduce_image, resize_image
from tasks.features.preprocessing import decode_poster, prepare_poster, prepare_posters, resize_pixels
from tasks.posters.images import MAX_PIXELS, NotAPosterError

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


def draw_noise(width: int, height: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize(("width", "height"), [(1000, 1000), (1800, 600), (600, 2701), (17_000, 60), (60, 17_001)])
def test_large_images_are_reduced_alike(monkeypatch: pytest.MonkeyPatch, width: int, height: int) -> None:
    """All but the first are above the limit; the longest side is not a whole number of blocks."""
    for module in (preprocessing, numpy_preprocessing):
        monkeypatch.setattr(module, "MAX_PIXELS_AT_ONCE", 1_000_000)
    pixels = draw_noise(width, height)
    reduced = reduce_image(pixels)
    # In a graph, which multiplies by the reciprocal.
    spec = tf.TensorSpec([None, None, 3], tf.uint8)
    expected = tf.function(preprocessing.reduce_pixels, input_signature=[spec])(tf.constant(pixels))
    np.testing.assert_allclose(reduced, expected, rtol=1e-6)
    assert (reduced.size < pixels.size) == (width * height > 1_000_000)


@pytest.mark.parametrize(("width", "height"), [(2048, 3072), (2049, 3072)])
def test_only_images_above_the_limit_are_reduced(width: int, height: int) -> None:
    pixels = draw_noise(width, height)
    content = encode(Image.fromarray(pixels), format="PNG", compress_level=0)
    prepared = prepare_images([content])
    np.testing.assert_allclose(prepared, prepare_posters(tf.constant([content])), atol=TOLERANCE)
    assert np.array_equal(prepared[0], resize_image(pixels)) == (width * height <= MAX_PIXELS_AT_ONCE)


def test_blocks_are_averaged() -> None:
    block = np.arange(6, dtype=np.uint8).reshape(3, 2, 1) * [1, 2, 40]
    pixels = np.tile(block, (900, 1300, 1)).astype(np.uint8)  # 2,700 x 2,600: three down, two across
    np.testing.assert_array_equal(reduce_image(pixels), np.broadcast_to(np.float32([2.5, 5, 100]), (900, 1300, 3)))


def test_a_reduced_image_is_resized_as_the_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_preprocessing, "MAX_PIXELS_AT_ONCE", 1_000_000)
    pixels = np.asarray(draw(1900, 1800))
    assert np.abs(resize_image(reduce_image(pixels)) - resize_image(pixels)).mean() < 1


def test_exif_orientation_is_ignored_by_training_predictions_and_the_exported_graph(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    module = tf.Module()
    module.prepare = tf.function(prepare_posters, input_signature=[tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(module, str(tmp_path))
    exported = tf.saved_model.load(str(tmp_path))
    for kind in ("JPEG", "PNG"):
        plain, turned = encode(draw(90, 130), format=kind), encode(draw(90, 130), format=kind, exif=exif)
        assert Image.open(io.BytesIO(turned)).getexif()[0x0112] == 6
        expected = prepare_poster(tf.constant(plain)).numpy()
        np.testing.assert_array_equal(prepare_poster(tf.constant(turned)), expected)
        np.testing.assert_array_equal(exported.prepare(tf.constant([turned]))[0], expected)
        np.testing.assert_allclose(prepare_images([turned])[0], expected, atol=TOLERANCE)


MEASURE = """
import resource, sys
from pathlib import Path
if sys.argv[1] == "tensorflow":
    import tensorflow as tf
    from tasks.features.preprocessing import prepare_posters
    prepare = lambda content: prepare_posters(tf.constant([content]))
else:
    from tasks.features.numpy_preprocessing import prepare_images
    prepare = lambda content: prepare_images([content])
large, small = (Path(path).read_bytes() for path in sys.argv[2:])
prepare(small)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
prepare(large)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize(("way", "max_megabytes"), [("tensorflow", 180), ("numpy", 310)])
def test_memory_of_the_largest_png_is_bounded(tmp_path: Path, way: str, max_megabytes: int) -> None:
    """Of 75 MB of pixels: with TensorFlow those and the reduced image; Pillow has them twice, and the rows once."""
    large, small = tmp_path / "large.png", tmp_path / "small.png"
    Image.new("RGB", (4_000, MAX_PIXELS // 4_000), "red").save(large, compress_level=1)
    Image.new("RGB", (40, 60), "red").save(small)
    command = [sys.executable, "-c", MEASURE, way, str(large), str(small)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert int(done.stdout) < max_megabytes * 1024


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
