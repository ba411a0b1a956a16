"""Tensors as JSON, as TensorFlow Serving's REST interface reads and writes them.

Described in https://www.tensorflow.org/tfx/serving/api_rest. In the row format each of `instances` has the values of
one example, in the columnar format `inputs` has the tensors. Bytes are `{"b64": "..."}` in requests, and in responses
where the name of a tensor ends in `_bytes`; other strings are plain text.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BYTES_SUFFIX = "_bytes"


class BadRequestError(ValueError):
    """A request cannot be answered; the message says why."""


def read_inputs(body: Any, names: Sequence[str]) -> tuple[dict[str, Any], bool]:
    """Returns the inputs of a request by name, as nested lists without base64, and whether it is in the row format.

    Args:
        body: The request.
        names: Names of the signature's inputs.

    Raises:
        BadRequestError: The request has neither format, or both, or other inputs than the signature.
    """
    if not isinstance(body, dict) or ("instances" in body) == ("inputs" in body):
        raise BadRequestError("expected a JSON object with one of 'instances' and 'inputs'")
    if "inputs" in body:
        inputs = body["inputs"]
        return _by_name(inputs if _is_object(inputs) else _name(inputs, names), names), False
    instances = body["instances"]
    if not isinstance(instances, list) or not instances:
        raise BadRequestError("expected 'instances' to be a list with one value or more")
    rows = [_by_name(row if _is_object(row) else _name(row, names), names) for row in instances]
    return {name: [row[name] for row in rows] for name in names}, True


def _is_object(value: Any) -> bool:
    """Returns whether a value is an object of named inputs, and not bytes."""
    return isinstance(value, dict) and set(value) != {"b64"}


def _name(value: Any, names: Sequence[str]) -> dict[str, Any]:
    if len(names) != 1:
        raise BadRequestError(f"expected an object with the inputs {', '.join(names)}")
    return {names[0]: value}


def _by_name(inputs: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    if set(inputs) != set(names):
        raise BadRequestError(f"expected the inputs {', '.join(names)}; received {', '.join(sorted(inputs)) or 'none'}")
    return {name: _decode(value) for name, value in inputs.items()}


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if not isinstance(value, dict):
        return value.encode() if isinstance(value, str) else value
    if set(value) != {"b64"} or not isinstance(value["b64"], str):
        raise BadRequestError('expected bytes as {"b64": "..."}')
    try:
        return base64.b64decode(value["b64"], validate=True)
    except binascii.Error as error:
        raise BadRequestError(f"not base64: {error}") from error


def write_outputs(outputs: Mapping[str, NDArray[Any]], *, in_rows: bool) -> dict[str, Any]:
    """Returns the response for outputs of a model: `predictions` of each example, or `outputs` by tensor.

    A single output has no name in it.

    Raises:
        BadRequestError: The outputs have no common first dimension, which the row format needs.
    """
    values = {name: _encode(name, tensor) for name, tensor in outputs.items()}
    if not in_rows:
        return {"outputs": next(iter(values.values())) if len(values) == 1 else values}
    sizes = {tensor.shape[0] if tensor.ndim else None for tensor in outputs.values()}
    if len(sizes) != 1 or None in sizes:
        raise BadRequestError("the outputs have no common batch size: ask for them in columns, by 'inputs'")
    if len(values) == 1:
        return {"predictions": next(iter(values.values()))}
    rows = zip(*values.values(), strict=True)
    return {"predictions": [dict(zip(values, row, strict=True)) for row in rows]}


def _encode(name: str, tensor: NDArray[Any]) -> Any:
    if tensor.dtype.kind in "OS":
        flat: list[Any] = [_encode_text(name, value) for value in tensor.ravel().tolist()]
    elif tensor.dtype.kind == "f":
        # The shortest number that is read as the same float32.
        flat = [float(str(value)) for value in tensor.ravel()]
    else:
        flat = tensor.ravel().tolist()
    return np.array(flat, object).reshape(tensor.shape).tolist()


def _encode_text(name: str, value: bytes) -> Any:
    if name.endswith(_BYTES_SUFFIX):
        return {"b64": base64.b64encode(value).decode()}
    return value.decode()
