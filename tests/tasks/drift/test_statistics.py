import base64
import json
import zlib
from typing import Any

import numpy as np
import pytest
from drift_statistics import make_statistics
from pydantic import ValidationError

from tasks.drift.statistics import MAX_LEFT_OUT, Statistics, decode_ids, encode_ids


def test_statistics_are_read_as_they_were_written() -> None:
    statistics = make_statistics()
    assert Statistics.model_validate_json(statistics.model_dump_json()) == statistics


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"num_films": 0},
        {"num_films": "9"},
        {"genres": {"Drama": -1}},
        {"hosts": {"a.test": {}}},
        {"hosts": {"a.test": {"ok": 0}}},
        {"left_out": "!"},
        {"left_out": base64.b64encode(b"no zlib").decode()},
        # More than are written: a small text must not become a large array.
        {"left_out": base64.b64encode(zlib.compress(bytes(8 * MAX_LEFT_OUT + 8))).decode()},
    ],
)
def test_damaged_statistics_are_refused(changes: dict[str, Any]) -> None:
    content = json.loads(make_statistics().model_dump_json())
    with pytest.raises(ValidationError):
        Statistics.model_validate_json(json.dumps({**content, **changes}))


def test_ids_are_kept_sorted_in_little_space() -> None:
    ids = np.cumsum(np.random.default_rng(0).integers(1, 200, MAX_LEFT_OUT))[::-1]
    text = encode_ids(ids)
    assert text is not None
    assert len(text) < 300_000
    np.testing.assert_array_equal(decode_ids(text), np.sort(ids))
    assert encode_ids(np.arange(MAX_LEFT_OUT + 1)) is None
    empty = encode_ids(np.empty(0, np.int64))
    assert empty is not None
    assert decode_ids(empty).tolist() == []
