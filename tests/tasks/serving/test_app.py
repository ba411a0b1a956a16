"""The interface over a real socket, with a SavedModel of the exported model's types."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import tensorflow as tf
from served_app import serve_app

from tasks.serving.app import create_app
from tasks.serving.servable import Servable


class Describe(tf.Module):
    """Ragged labels of strings, as `serving_default` returns them, and the mean of pixels."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def serve_files(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        length = tf.strings.length(image_bytes)
        return {
            "labels": tf.stack([tf.where(length > 3, "long", "short"), tf.where(length > 3, "bytes", "")], axis=1),
            "confidences": tf.cast(length, tf.float32)[:, tf.newaxis] / 10.0,
            "start_bytes": tf.strings.substr(image_bytes, 0, 1),
        }

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, "images")])
    def serve_pixels(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"mean": tf.reduce_mean(tf.cast(images, tf.float32), axis=[1, 2, 3])}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, module = tmp_path_factory.mktemp("model"), Describe()
    signatures = {"serving_default": module.serve_files, "images_uint8": module.serve_pixels}
    tf.saved_model.save(module, str(folder), signatures)
    with serve_app(create_app(Servable(Path(folder)), "genres", 3, 2000)) as host:
        yield f"http://{host}/v1/models/genres"


def ask(url: str, body: Any) -> tuple[int, Any]:
    answer = requests.post(url, json=body, timeout=60)
    return answer.status_code, answer.json()


def b64(content: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(content).decode()}


def test_rows(address: str) -> None:
    expected = [
        {"labels": ["long", "bytes"], "confidences": [0.5], "start_bytes": b64(b"\xff")},
        {"labels": ["short", ""], "confidences": [0.2], "start_bytes": b64(b"a")},
    ]
    files = [b64(b"\xff\xd8\xff\x00\x01"), b64(b"ab")]
    body = {"instances": [{"image_bytes": file} for file in files]}
    assert ask(f"{address}:predict", body) == (200, {"predictions": expected})
    assert ask(f"{address}/versions/3:predict", {"instances": files}) == (200, {"predictions": expected})


def test_columns_and_another_signature(address: str) -> None:
    status, answer = ask(f"{address}:predict", {"inputs": {"image_bytes": [b64(b"ab")]}})
    assert status == 200
    assert answer == {"outputs": {"labels": [["short", ""]], "confidences": [[0.2]], "start_bytes": [b64(b"a")]}}
    pixels = {"signature_name": "images_uint8", "instances": [[[[10, 20, 30]]]]}
    assert ask(f"{address}:predict", pixels) == (200, {"predictions": [20.0]})
    assert ask(f"{address}:predict", {**pixels, "instances": [{"images": [[[10, 20, 60]]]}]})[1] == {
        "predictions": [30.0]
    }


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([], "expected a JSON object with one of 'instances' and 'inputs'"),
        ({"instances": ["a"], "signature_name": "none"}, "'none' not found: expected images_uint8, serving_default"),
        ({"instances": ["a"], "signature_name": ["none"]}, "not found"),
        ({"instances": [["a"]]}, "expected string of shape (None,) as image_bytes; received (1, 1)"),
        ({"instances": [3]}, "expected string of shape (None,) as image_bytes"),
        ({"instances": ["a"], "signature_name": "images_uint8"}, "as images; received bytes"),
        ({"instances": [[[[1, 2]]]], "signature_name": "images_uint8"}, "received (1, 1, 1, 2)"),
        ({"instances": [[[[1, 2, 300]]]], "signature_name": "images_uint8"}, "received other numbers"),
        ({"instances": [[[[1, 2, 0.5]]]], "signature_name": "images_uint8"}, "received float64"),
        ({"instances": [[[[1, 2, 3]], [[1]]]], "signature_name": "images_uint8"}, "expected uint8 of shape"),
    ],
)
def test_wrong_requests_are_errors_of_one_line(address: str, body: Any, says: str) -> None:
    status, answer = ask(f"{address}:predict", body)
    assert (status, list(answer)) == (400, ["error"])
    assert says in answer["error"]
    assert "\n" not in answer["error"]


def test_what_is_no_json_and_what_is_too_large(address: str) -> None:
    for content in (b"", b"{", b"\xff", b"[" * 1900):
        answer = requests.post(f"{address}:predict", content, timeout=60)
        assert (answer.status_code, answer.json()["error"][:16]) == (400, "JSON parse error")
    answer = requests.post(f"{address}:predict", b" " * 2001, timeout=60)
    assert (answer.status_code, answer.json()) == (
        413,
        {"error": "the request is too large: expected at most 2,000 bytes"},
    )


def test_status_and_metadata(address: str) -> None:
    status = requests.get(address, timeout=60).json()
    assert status == requests.get(f"{address}/versions/3", timeout=60).json()
    assert status == {
        "model_version_status": [
            {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }
    metadata = requests.get(f"{address}/metadata", timeout=60).json()
    assert metadata["model_spec"] == {"name": "genres", "signature_name": "", "version": "3"}
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["image_bytes"] == {
        "dtype": "DT_STRING",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
        "name": "serving_default_image_bytes:0",
    }
    assert sorted(signature["outputs"]) == ["confidences", "labels", "start_bytes"]


@pytest.mark.parametrize("path", ["others:predict", "genres/versions/2:predict", "genres/versions/x:predict"])
def test_other_models_and_versions_are_not_found(address: str, path: str) -> None:
    status, answer = ask(f"{address.removesuffix('genres')}{path}", {"instances": ["a"]})
    assert status == 404
    assert "expected genres version 3" in answer["error"]


def test_other_paths_and_methods(address: str) -> None:
    assert requests.get(f"{address}/nothing", timeout=60).json() == {"error": "Not Found"}
    answer = requests.get(f"{address}s/metadata", timeout=60)
    assert (answer.status_code, list(answer.json())) == (404, ["error"])
