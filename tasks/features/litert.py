"""Run LiteRT models on the CPU, without TensorFlow and in a fraction of its time."""

import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from tasks.features.numpy_preprocessing import prepare_images
from tasks.features.quiet import quiet_native_code

# Decoded at a time by one core: few enough that the cores end together, and ten megabytes of pixels each.
_IMAGES_AT_ONCE = 16

# From JPEG or PNG files to float32 pixels of 0-255, shape `(num_images, 224, 224, 3)`.
PrepareImages = Callable[[Sequence[bytes]], NDArray[np.float32]]


class LiteRTNetwork:
    """A LiteRT model with a batch of one image, on all cores: each decodes images and runs its own interpreter.

    That is faster than one interpreter of several threads, which wait for each other at every layer, and than decoding
    beside the network, which competes with it for the cores.

    Args:
        model: LiteRT model, as `tasks.features.conversion.convert` returns it.
        prepare: Decoding and resizing for `predict_images`; by default without TensorFlow.
    """

    def __init__(self, model: bytes, prepare: PrepareImages = prepare_images) -> None:
        self._prepare = prepare
        num_cores = joblib.cpu_count()  # that this process may use: limits of containers are included
        self._pool = ThreadPoolExecutor(num_cores, "litert")
        self._idle: queue.SimpleQueue[Interpreter] = queue.SimpleQueue()
        with quiet_native_code():
            for _ in range(num_cores):
                interpreter = Interpreter(model_content=model, num_threads=1)
                interpreter.allocate_tensors()
                self._idle.put(interpreter)

    def predict_images(self, images: Sequence[bytes]) -> NDArray[np.float32]:
        """Returns the model's outputs for image files.

        Args:
            images: JPEG or PNG files.

        Returns:
            Shape `(len(images), num_outputs)`, in the order of the images.

        Raises:
            NotAPosterError: If one of them is no image, by the default `prepare`; else what `prepare` raises.
        """

        def predict(start: int) -> NDArray[np.float32]:
            return self.predict_pixels(self._prepare(images[start : start + _IMAGES_AT_ONCE]))

        outputs = list(self._pool.map(predict, range(0, len(images), _IMAGES_AT_ONCE)))
        return np.concatenate(outputs) if outputs else self.predict_pixels(np.empty((0, 0), np.float32))

    def predict_pixels(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
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
