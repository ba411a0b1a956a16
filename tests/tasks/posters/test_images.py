import contextlib
import io
import warnings

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.features.preprocessing import decode_poster
from tasks.posters.images import ImageInfo, NotAPosterError, check_image


def encode(format: str, mode: str, size: tuple[int, int] = (40, 50), **options: object) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 60).convert(mode).save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "format"),
    [
        (encode("JPEG", "RGB"), "jpeg"),
        (encode("JPEG", "RGB", progressive=True), "jpeg"),
        (encode("JPEG", "L"), "jpeg"),
        (encode("JPEG", "CMYK"), "jpeg"),
        (encode("MPO", "RGB"), "jpeg"),
        (encode("PNG", "RGB"), "png"),
        (encode("PNG", "RGBA"), "png"),
        (encode("PNG", "P"), "png"),
        (encode("PNG", "LA"), "png"),
        (encode("PNG", "1"), "png"),
        (encode("PNG", "I;16"), "png"),
    ],
)
def test_accepted_images_can_be_decoded_by_the_model(content: bytes, format: str) -> None:
    assert check_image(content) == ImageInfo(format, 40, 50)
    assert decode_poster(tf.constant(content)).shape == (50, 40, 3)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<html></html>", "not an image"),
        (encode("GIF", "P"), "format gif"),
        (encode("WEBP", "RGB"), "format webp"),
        (encode("BMP", "RGB"), "format bmp"),
        (encode("JPEG", "RGB")[:-200], "broken image"),
        (encode("PNG", "RGB")[:-200], "broken image"),
        (encode("PNG", "1", (8000, 8000)), "too many pixels"),
        (encode("PNG", "1", (20000, 20000)), "too many pixels"),
        (encode("JPEG", "RGB", (31, 500)), "too small"),
    ],
)
def test_reasons_of_rejection(content: bytes, reason: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(NotAPosterError) as raised:
            check_image(content, min_side_pixels=32)
    assert raised.value.reason == reason


def test_png_with_a_wrong_checksum_is_broken_as_for_the_model() -> None:
    content = bytearray(encode("PNG", "RGB"))
    content[content.index(b"IEND") - 5] ^= 1  # in the checksum of the last chunk of image data
    with pytest.raises(NotAPosterError, match="broken image"):
        check_image(bytes(content))
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_poster(tf.constant(bytes(content)))


@settings(deadline=None)
@given(st.binary(max_size=40), st.integers(0, 2000), st.sampled_from(["JPEG", "PNG"]))
def test_damaged_files_raise_no_other_error(noise: bytes, at: int, format: str) -> None:
    content = bytearray(encode(format, "RGB"))
    content[at : at + len(noise)] = noise
    # Any other exception fails the test.
    with contextlib.suppress(NotAPosterError):
        assert check_image(bytes(content)).format == format.lower()
