"""The ONNX model: the same function as the LiteRT model, for ONNX Runtime, and any number of posters at a time."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.errors import SettingsError

if TYPE_CHECKING:
    import onnx

    from tasks.export.classifier import Classifier

_PACKAGES = ("tf2onnx", "onnxruntime")
# Of 2022: ONNX Runtime 1.12 and later read it.
_OPSET = 17
PIXELS, COLUMNS, LABELS = "pixels", "columns", "labels"

_IMAGES_AT_ONCE = 16


def check_packages() -> None:
    """Raises an error if a package of the extra `onnx` is missing.

    Raises:
        SettingsError: One is.
    """
    if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
        raise SettingsError(
            f"export.onnx is true, and {' and '.join(missing)} can't be imported: install the extra `onnx` "
            f"(pip install {' '.join(_PACKAGES)}), or set export.onnx to false"
        )


def write_onnx(classifier: "Classifier", path: Path) -> None:
    """Writes `Classifier.build_flat_model` as an ONNX model, with the columns' names in its metadata.

    Its input is `pixels`, float32, 0-255, shape `(batch, height, width, 3)`; its output `columns`, float32, shape
    `(batch, num_columns)`; `labels` of the metadata has a line for each column.
    """
    import tensorflow as tf
    import tf2onnx

    from tasks.features.quiet import quiet_native_code

    network = classifier.build_flat_model()
    pixels = tf.TensorSpec([None, *network.input.shape[1:]], tf.float32, PIXELS)
    # Not from_function, which makes inputs of the constants that standardise the features.
    with quiet_native_code():
        model, _ = tf2onnx.convert.from_keras(network, (pixels,), opset=_OPSET)
    _name_output(model)
    labels = model.metadata_props.add()
    labels.key, labels.value = LABELS, "".join(f"{name}\n" for name in classifier.column_names)
    path.write_bytes(model.SerializeToString())


def _name_output(model: "onnx.ModelProto") -> None:
    """Gives the output and the dimension of the batch names of their own: Keras and tf2onnx number theirs."""
    (output,) = model.graph.output
    for node in model.graph.node:
        node.output[:] = [COLUMNS if name == output.name else name for name in node.output]
    output.name = COLUMNS
    for value in (*model.graph.input, output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


def predict_onnx(path: Path, images: Sequence[bytes]) -> NDArray[np.float32]:
    """Returns the columns of an ONNX model for image files, shape `(len(images), num_columns)`, by ONNX Runtime.

    Args:
        path: Path of the model.
        images: JPEG or PNG files.

    Raises:
        NotAPosterError: If one of them is no image.
    """
    import onnxruntime

    from tasks.features.numpy_preprocessing import prepare_images

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    _, height, width, _ = session.get_inputs()[0].shape
    starts = range(0, len(images), _IMAGES_AT_ONCE)
    batches = (prepare_images(images[start : start + _IMAGES_AT_ONCE], (height, width)) for start in starts)
    return np.concatenate([session.run([COLUMNS], {PIXELS: pixels})[0] for pixels in batches])
