"""Warm-up requests, which TensorFlow Serving sends to a model before clients' requests reach it.

They are a TFRecord file of the protocol buffer `PredictionLog`. Its package, tensorflow-serving-api, is not needed to
write four nested messages: each is a number, a length and its content.
(https://www.tensorflow.org/tfx/serving/saved_model_warmup)
"""

import io
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")

# Numbers of the fields in tensorflow_serving/apis: prediction_log.proto, predict.proto, model.proto.
_LOG_PREDICT_LOG = 6
_PREDICT_LOG_REQUEST = 1
_REQUEST_MODEL_SPEC, _REQUEST_INPUTS = 1, 2
_SPEC_NAME, _SPEC_SIGNATURE_NAME = 1, 3
_ENTRY_KEY, _ENTRY_VALUE = 1, 2

_BYTES_FIELD = 2  # wire type of strings and messages
_SIDE = 300  # pixels of the warm-up images


def write_warmup_requests(saved_model: Path, name: str = "poster_genres") -> None:
    """Writes a request to each signature, with one image; to those that take files also one with a PNG file.

    Args:
        saved_model: Folder of the SavedModel, to which the file is added.
        name: Name of the model in the requests; any will do.
    """
    files = {"JPEG": _encode("JPEG"), "PNG": _encode("PNG")}
    requests: list[tuple[str, str, tf.compat.v1.TensorProto]] = [
        (signature, "image_bytes", tf.make_tensor_proto([content]))
        for signature in ("serving_default", "probabilities", "embedding")
        for content in files.values()
    ]
    shape = [1, _SIDE, _SIDE, 3]
    # One value, which fills the shape.
    requests += [
        ("images", "images", tf.make_tensor_proto(127.0, tf.float32, shape)),
        ("images_uint8", "images", tf.make_tensor_proto(127, tf.uint8, shape)),
    ]
    path = saved_model / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, argument, tensor in requests:
            writer.write(make_prediction_log(name, signature, argument, tensor.SerializeToString()))


def make_prediction_log(model: str, signature: str, argument: str, tensor: bytes) -> bytes:
    """Returns a `PredictionLog` of one `PredictRequest`.

    Args:
        model: Name of the model.
        signature: Name of the signature.
        argument: Name of its argument.
        tensor: The argument's value, a serialised `TensorProto`.
    """
    spec = _field(_SPEC_NAME, model.encode()) + _field(_SPEC_SIGNATURE_NAME, signature.encode())
    entry = _field(_ENTRY_KEY, argument.encode()) + _field(_ENTRY_VALUE, tensor)
    request = _field(_REQUEST_MODEL_SPEC, spec) + _field(_REQUEST_INPUTS, entry)
    return _field(_LOG_PREDICT_LOG, _field(_PREDICT_LOG_REQUEST, request))


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | _BYTES_FIELD]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Returns a number in groups of seven bits, lowest first, of which all but the last have the eighth bit set."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F)
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def _encode(image_format: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((_SIDE, _SIDE, 3), 127, np.uint8)).save(file, image_format)
    return file.getvalue()
