"""A SavedModel that answers requests."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from tasks.prediction.saved_model import load_saved_model
from tasks.serving.json_tensors import BadRequestError, read_inputs, write_outputs

DEFAULT_SIGNATURE = "serving_default"


class Servable:
    """A SavedModel with TensorFlow Serving's requests and responses; it may be called by several threads.

    Args:
        saved_model: Folder of the SavedModel.
    """

    def __init__(self, saved_model: Path) -> None:
        self._folder = saved_model
        self._model = load_saved_model(saved_model)

    def predict(self, body: Any) -> dict[str, Any]:
        """Returns the response to a request, both as JSON values.

        Raises:
            BadRequestError: The request does not fit the signature, or the model cannot be run on it.
        """
        name = body.get("signature_name", DEFAULT_SIGNATURE) if isinstance(body, dict) else DEFAULT_SIGNATURE
        signature = self._model.signatures.get(name) if isinstance(name, str) else None
        if signature is None:
            raise BadRequestError(f"serving signature {name!r} not found: expected {', '.join(self.signatures)}")
        (_, specs) = signature.structured_input_signature
        inputs, in_rows = read_inputs(body, list(specs))
        tensors = {key: _to_tensor(key, inputs[key], spec) for key, spec in specs.items()}
        try:
            outputs: Mapping[str, NDArray[Any]] = {key: value.numpy() for key, value in signature(**tensors).items()}
        except tf.errors.InvalidArgumentError as error:
            raise BadRequestError(str(error.message).splitlines()[0]) from error
        return write_outputs(outputs, in_rows=in_rows)

    @property
    def signatures(self) -> list[str]:
        """Names of the signatures."""
        return sorted(self._model.signatures)

    @cached_property
    def signature_defs(self) -> dict[str, Any]:
        """Inputs and outputs of each signature, as TensorFlow Serving's metadata has them."""
        described = saved_model_pb2.SavedModel.FromString((self._folder / "saved_model.pb").read_bytes())
        return {
            name: {
                "inputs": {key: _describe(info) for key, info in signature.inputs.items()},
                "outputs": {key: _describe(info) for key, info in signature.outputs.items()},
                "method_name": signature.method_name,
            }
            for name, signature in described.meta_graphs[0].signature_def.items()
        }


def _to_tensor(name: str, value: Any, spec: tf.TensorSpec) -> tf.Tensor:
    wanted = f"expected {spec.dtype.name} of shape {spec.shape} as {name}"
    try:
        if spec.dtype == tf.string:
            tensor = tf.constant(value, tf.string)
        else:
            array = np.array(value)
            dtype = spec.dtype.as_numpy_dtype
            if not np.issubdtype(array.dtype, np.integer if spec.dtype.is_integer else np.number):
                raise BadRequestError(f"{wanted}; received {array.dtype.name}")
            if spec.dtype.is_integer and not (array == array.astype(dtype)).all():
                raise BadRequestError(f"{wanted}; received other numbers")
            tensor = tf.constant(array, spec.dtype)
    except (TypeError, ValueError) as error:
        if isinstance(error, BadRequestError):
            raise
        raise BadRequestError(f"{wanted}: {str(error).splitlines()[0]}") from error
    if not spec.shape.is_compatible_with(tensor.shape):
        raise BadRequestError(f"{wanted}; received {tensor.shape}")
    return tensor


def _describe(info: meta_graph_pb2.TensorInfo) -> dict[str, Any]:
    shape = info.tensor_shape
    return {
        "dtype": types_pb2.DataType.Name(info.dtype),
        "tensor_shape": {
            "dim": [{"size": str(dim.size), "name": dim.name} for dim in shape.dim],
            "unknown_rank": shape.unknown_rank,
        },
        "name": info.name,
    }
