"""Run networks over posters on the CPU, by LiteRT, which takes about a quarter of the time of TensorFlow itself."""

import queue
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import joblib
import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from tasks.features.preprocessing import prepare_posters
from tasks.features.quiet import quiet_native_code

# Decoded at a time by one core: few enough that the cores end together, and ten megabytes of pixels each.
_POSTERS_AT_ONCE = 16


def convert(network: keras.Model) -> bytes:
    """Returns a network over pixels as a LiteRT model of one picture at a time.

    The network takes the shape `(batch_size, height, width, 3)`. Its weights are constants in the model and its
    normalisations folded into them, which changes what it gives by about 1e-4.
    """
    pixels = tf.TensorSpec([1, *network.input.shape[1:]], tf.float32, "pixels")
    graph = tf.function(lambda picture: network(picture, training=False)).get_concrete_function(pixels)
    # Not from_keras_model, which takes 11 s where this takes 2. The module is empty: variables become constants.
    with quiet_native_code():
        return bytes(tf.lite.TFLiteConverter.from_concrete_functions([graph], tf.Module()).convert())


class LiteRTNetwork:
    """A LiteRT model of `convert`, on all cores: each decodes posters and runs an interpreter of its own.

    That is faster than an interpreter of several threads, which wait for each other at every layer, and than decoding
    beside the network, which fights with it for the cores.

    Args:
        model: as `convert` gives it.
    """

    def __init__(self, model: bytes) -> None:
        num_cores = joblib.cpu_count()  # that this process may use; the system's own counts know nothing of containers
        self._pool = ThreadPoolExecutor(num_cores, "litert")
        self._idle: queue.SimpleQueue[Interpreter] = queue.SimpleQueue()
        with quiet_native_code():
            for _ in range(num_cores):
                interpreter = Interpreter(model_content=model, num_threads=1)
                interpreter.allocate_tensors()
                self._idle.put(interpreter)

    def run_posters(self, posters: Sequence[bytes]) -> NDArray[np.float32]:
        """Returns what the network gives for JPEG or PNG files, shape `(len(posters), num_outputs)`, in their order.

        Raises:
            tf.errors.InvalidArgumentError: if one of them is no picture.
        """

        def run(start: int) -> NDArray[np.float32]:
            return self.run_pixels(prepare_posters(tf.constant(posters[start : start + _POSTERS_AT_ONCE])).numpy())

        outputs = list(self._pool.map(run, range(0, len(posters), _POSTERS_AT_ONCE)))
        return np.concatenate(outputs) if outputs else self.run_pixels(np.empty((0, 0), np.float32))

    def run_pixels(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns what the network gives for resized pictures of 0-255, on the calling thread.

        Args:
            pixels: shape `(num_pictures, height, width, 3)`, of the network's size.

        Returns:
            Shape `(num_pictures, num_outputs)`.
        """
        interpreter = self._idle.get()
        try:
            (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
            outputs = np.empty((len(pixels), given["shape"][-1]), np.float32)
            for row, picture in enumerate(pixels):
                interpreter.set_tensor(taken["index"], picture[np.newaxis])
                interpreter.invoke()
                outputs[row] = interpreter.get_tensor(given["index"])[0]
        finally:
            self._idle.put(interpreter)
        return outputs
