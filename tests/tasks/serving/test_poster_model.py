"""What happens to a picture before the model sees it; the answers: tests/flows/test_web.py."""

import io

import numpy as np
import pytest
from PIL import Image

from tasks.features.numpy_preprocessing import decode_image
from tasks.serving.poster_model import shrink, turn_upright

FULL_SIZE = (1 << 20, 1 << 20)
# Four fields: where each of them is shows the turn.
FIELDS = np.kron(np.array([[40, 90], [140, 220]], np.uint8), np.ones((32, 16), np.uint8))


def encode(image: Image.Image, file_format: str, orientation: int | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    if orientation is not None:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = orientation
    image.save(file, file_format, **options)
    return file.getvalue()


def list_fields(content: bytes) -> list[int]:
    pixels = decode_image(content, FULL_SIZE)[..., 0]
    height, width = pixels.shape
    return [int(pixels[y, x]) for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("orientation", "fields"),
    [
        (1, [40, 90, 140, 220]),
        (2, [90, 40, 220, 140]),
        (3, [220, 140, 90, 40]),
        (4, [140, 220, 40, 90]),
        (5, [40, 140, 90, 220]),
        (6, [140, 40, 220, 90]),
        (7, [220, 90, 140, 40]),
        (8, [90, 220, 40, 140]),
        (9, [40, 90, 140, 220]),
    ],
)
def test_pictures_are_turned_as_their_exif_data_says(orientation: int, fields: list[int], file_format: str) -> None:
    content = encode(Image.fromarray(FIELDS).convert("RGB"), file_format, orientation, quality=95)
    assert list_fields(turn_upright(content)) == pytest.approx(fields, abs=3)


def test_sixteen_bits_and_cmyk_look_as_the_model_sees_them() -> None:
    deep = Image.fromarray(FIELDS.astype(np.uint16) << 8)
    assert list_fields(turn_upright(encode(deep, "PNG", 3))) == pytest.approx([220, 140, 90, 40], abs=3)
    content = encode(Image.fromarray(FIELDS).convert("RGB").convert("CMYK"), "JPEG", 3, quality=95)
    assert list_fields(turn_upright(content)) == pytest.approx(list_fields(content)[::-1], abs=4)


@pytest.mark.parametrize("exif", [b"Exif\0\0junkjunk", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0", b"x" * 50])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_broken_exif_data_costs_nothing(file_format: str, exif: bytes) -> None:
    content = encode(Image.fromarray(FIELDS).convert("RGB"), file_format, exif=exif)
    assert turn_upright(content) == content


@pytest.mark.parametrize(
    ("size", "expected"), [((600, 900), (180, 270)), ((1000, 100), (182, 18)), ((100, 1000), (27, 268))]
)
def test_a_large_picture_is_made_to_fit(size: tuple[int, int], expected: tuple[int, int]) -> None:
    content = shrink(encode(Image.new("RGB", size, "red"), "PNG"), (182, 268))
    with Image.open(io.BytesIO(content)) as small:
        assert small.size == pytest.approx(expected, abs=2)
        assert small.width <= 182
        assert small.height <= 268


def test_what_fits_stays_as_it_is() -> None:
    content = encode(Image.new("RGB", (182, 268)), "JPEG")
    assert shrink(content, (182, 268)) is content
    assert shrink(content, None) is content
