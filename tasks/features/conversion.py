"""Convert Keras networks to LiteRT models."""

import keras
import tensorflow as tf

from tasks.features.quiet import quiet_native_code


def convert(network: keras.Model) -> bytes:
    """Returns a network as a LiteRT model with a batch of one image.

    Its weights are constants in the model and its normalisations folded into them, which changes outputs by about 1e-4.

    Args:
        network: Input of shape `(batch_size, height, width, 3)`, one output of shape `(batch_size, num_outputs)`.
    """
    pixels = tf.TensorSpec([1, *network.input.shape[1:]], tf.float32, "pixels")
    graph = tf.function(lambda image: network(image, training=False), autograph=False).get_concrete_function(pixels)
    # Not from_keras_model, which takes 11 s where this takes 2. The module is empty: variables become constants.
    with quiet_native_code():
        return bytes(tf.lite.TFLiteConverter.from_concrete_functions([graph], tf.Module()).convert())
