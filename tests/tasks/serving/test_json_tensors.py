from typing import Any

import numpy as np
import pytest

from tasks.serving.json_tensors import BadRequestError, read_inputs, write_outputs


@pytest.mark.parametrize(
    ("body", "names", "inputs", "in_rows"),
    [
        # The forms of TensorFlow Serving's documentation: rows of one input, with and without its name; of two; and
        # columns.
        ({"instances": ["foo", "bar"]}, ["x"], {"x": [b"foo", b"bar"]}, True),
        ({"instances": [{"x": [1, 2]}, {"x": [3, 4]}]}, ["x"], {"x": [[1, 2], [3, 4]]}, True),
        ({"instances": [{"b64": "aW1hZ2U="}]}, ["x"], {"x": [b"image"]}, True),
        (
            {"instances": [{"tag": "foo", "signal": [1, 2]}]},
            ["tag", "signal"],
            {"tag": [b"foo"], "signal": [[1, 2]]},
            True,
        ),
        ({"inputs": {"x": ["foo"], "y": [[1.5]]}}, ["x", "y"], {"x": [b"foo"], "y": [[1.5]]}, False),
        ({"inputs": [{"b64": "aW1hZ2U="}, "text"]}, ["x"], {"x": [b"image", b"text"]}, False),
        ({"inputs": {"b64": "aW1hZ2U="}}, ["x"], {"x": b"image"}, False),
    ],
)
def test_both_formats_are_read(body: Any, names: list[str], inputs: dict[str, Any], in_rows: bool) -> None:
    assert read_inputs(body, names) == (inputs, in_rows)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([], "expected a JSON object with one of 'instances' and 'inputs'"),
        ({}, "expected a JSON object with one of"),
        ({"instances": [1], "inputs": [1]}, "expected a JSON object with one of"),
        ({"instances": []}, "one value or more"),
        ({"instances": 3}, "one value or more"),
        ({"instances": [{"y": 1}]}, "expected the inputs x; received y"),
        ({"instances": [{}]}, "received none"),
        ({"inputs": {"x": {"b64": "!"}}}, "not base64"),
        ({"inputs": {"x": {"b64": 3}}}, 'expected bytes as {"b64": "..."}'),
        ({"inputs": {"x": [{"b64": "", "more": 1}]}}, "expected bytes"),
    ],
)
def test_what_is_neither_is_refused(body: Any, says: str) -> None:
    with pytest.raises(BadRequestError) as raised:
        read_inputs(body, ["x"])
    assert says in str(raised.value)
    with pytest.raises(BadRequestError, match="an object with the inputs x, y"):
        read_inputs({"inputs": [1]}, ["x", "y"])


OUTPUTS = {
    "labels": np.array([[b"Drama", b""], [b"Com\xc3\xa9die", b"War"]], object),
    "confidences": np.array([[0.99, 0], [0.7, 1 / 3]], np.float32),
    "raw_bytes": np.array([b"\xff", b""], object),
    "count": np.array([1, 2], np.int64),
}


def test_rows_have_every_output_by_name() -> None:
    assert write_outputs(OUTPUTS, in_rows=True) == {
        "predictions": [
            {"labels": ["Drama", ""], "confidences": [0.99, 0.0], "raw_bytes": {"b64": "/w=="}, "count": 1},
            {"labels": ["Comédie", "War"], "confidences": [0.7, 0.33333334], "raw_bytes": {"b64": ""}, "count": 2},
        ]
    }
    assert write_outputs({"count": OUTPUTS["count"]}, in_rows=True) == {"predictions": [1, 2]}


def test_columns_have_every_tensor() -> None:
    columns = write_outputs(OUTPUTS, in_rows=False)["outputs"]
    assert columns["labels"] == [["Drama", ""], ["Comédie", "War"]]
    assert columns["raw_bytes"] == [{"b64": "/w=="}, {"b64": ""}]
    assert write_outputs({"count": OUTPUTS["count"]}, in_rows=False) == {"outputs": [1, 2]}
    assert write_outputs({"one": np.array(2.5, np.float32)}, in_rows=False) == {"outputs": 2.5}


def test_rows_need_one_batch_size() -> None:
    for other in (np.zeros(3), np.array(1.0)):
        with pytest.raises(BadRequestError, match="no common batch size"):
            write_outputs({"count": OUTPUTS["count"], "other": other}, in_rows=True)
