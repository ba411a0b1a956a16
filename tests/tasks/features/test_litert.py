import io

import keras
import numpy as np
import pytest
from PIL import Image

from tasks.features.conversion import convert
from tasks.features.image_size import IMAGE_SIZE
from tasks.features.litert import LiteRTNetwork
from tasks.posters.images import NotAPosterError


@pytest.fixture(scope="module")
def network() -> LiteRTNetwork:
    """Gives the mean red and the mean green of a picture, twice over."""
    pixels = keras.Input((*IMAGE_SIZE, 3))
    means = keras.layers.GlobalAveragePooling2D()(pixels)
    weights = keras.initializers.Constant([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    return LiteRTNetwork(convert(keras.Model(pixels, keras.layers.Dense(2, kernel_initializer=weights)(means))))


def png(red: int, green: int, size: tuple[int, int] = (20, 30)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (red, green, 9)).save(file, "PNG")
    return file.getvalue()


def test_outputs_are_in_the_order_of_the_images_whatever_their_number_and_size(network: LiteRTNetwork) -> None:
    posters = [png(number, 2 * number, (20 + number, 30)) for number in range(50)]
    expected = [[number, 4 * number] for number in range(50)]
    for count in (50, 17, 16, 1):
        np.testing.assert_allclose(network.predict_images(posters[:count]), expected[:count], atol=1e-2)


def test_no_images_give_no_rows_of_the_right_width(network: LiteRTNetwork) -> None:
    assert network.predict_images([]).shape == (0, 2)


def test_pixels_as_they_are(network: LiteRTNetwork) -> None:
    pixels = np.zeros((3, *IMAGE_SIZE, 3), np.float32)
    pixels[1, ..., 0] = 255
    np.testing.assert_allclose(network.predict_pixels(pixels), [[0, 0], [255, 0], [0, 0]], atol=1e-3)


def test_a_file_that_is_no_image_raises(network: LiteRTNetwork) -> None:
    with pytest.raises(NotAPosterError):
        network.predict_images([png(1, 1), b"<html>"])
