"""Run LiteRT models on the CPU, without TensorFlow and in a fraction of its time."""

import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import joblib
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from tasks.features.image_size import ImageSize
from tasks.features.numpy_preprocessing import prepare_images
from tasks.features.quiet import quiet_native_code

# Decoded at a time by one core: few enough that the cores end together, and ten megabytes of pixels each.
_IMAGES_AT_ONCE = 16

Image = TypeVar("Image")


class LiteRTNetwork:
    """A LiteRT model with a batch of one image, on all cores: each decodes images and runs its own interpreter.

    That is faster than one interpreter of several threads, which wait for each other at every layer, and than decoding
    beside the network, which competes with it for the cores.

    Args:
        model: LiteRT model, as `tasks.features.conversion.convert` returns it.
        num_cores: Number of cores; None: all that this process may use, limits of containers included.

    Attributes:
        image_size: Height and width of the model's input.
    """

    def __init__(self, model: bytes, num_cores: int | None = None) -> None:
        num_cores = num_cores or joblib.cpu_count()
        self._pool = ThreadPoolExecutor(num_cores, "litert")
        self._idle: queue.SimpleQueue[Interpreter] = queue.SimpleQueue()
        with quiet_native_code():
            for _ in range(num_cores):
                interpreter = Interpreter(model_content=model, num_threads=1)
                interpreter.allocate_tensors()
                self._idle.put(interpreter)
        _, height, width, _ = interpreter.get_input_details()[0]["shape"].tolist()
        self.image_size: ImageSize = height, width

    def predict_images(self, images: Sequence[bytes]) -> NDArray[np.float32]:
        """Returns the model's outputs for image files.

        Args:
            images: JPEG or PNG files.

        Returns:
            Shape `(len(images), num_outputs)`, in the order of the images.

        Raises:
            NotAPosterError: If one of them is no image.
        """
        return self.map_batches(lambda batch: self.predict_pixels(prepare_images(batch, self.image_size)), images)

    def map_batches(
        self, function: Callable[[Sequence[Image]], NDArray[np.float32]], images: Sequence[Image]
    ) -> NDArray[np.float32]:
        """Calls a function, which may call `predict_pixels`, for some images at a time, on all cores.

        Args:
            function: From some images to an array with a row for each.
            images: Images: files, or pixels.

        Returns:
            The rows of all images, in their order.
        """
        starts = range(0, max(len(images), 1), _IMAGES_AT_ONCE)
        batches = (images[start : start + _IMAGES_AT_ONCE] for start in starts)
        return np.concatenate(list(self._pool.map(function, batches)))

    def predict_pixels(self, pixels: NDArray[np.float32] | Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Returns the model's outputs for resized images, on the calling thread.

        Args:
            pixels: Shape `(num_images, height, width, 3)`, of the model's input size, 0-255.

        Returns:
            Shape `(num_images, num_outputs)`.
        """
        interpreter = self._idle.get()
        try:
            (model_input,), (model_output,) = interpreter.get_input_details(), interpreter.get_output_details()
            outputs = np.empty((len(pixels), model_output["shape"][-1]), np.float32)
            for row, image in enumerate(pixels):
                interpreter.set_tensor(model_input["index"], image[np.newaxis])
                interpreter.invoke()
                outputs[row] = interpreter.get_tensor(model_output["index"])[0]
        finally:
            self._idle.put(interpreter)
        return outputs
