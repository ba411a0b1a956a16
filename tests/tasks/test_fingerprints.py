import json
import logging
from pathlib import Path

import pytest

from tasks.checking import write_checksums
from tasks.fingerprints import Inputs, find_current

INPUTS = Inputs({"version": 1, "settings": {"epochs": 20, "loss": "soft_f1"}, "dataset": "ab" * 32})


def test_equal_inputs_have_equal_fingerprints_in_any_order() -> None:
    same = Inputs({"dataset": "ab" * 32, "settings": {"loss": "soft_f1", "epochs": 20}, "version": 1})
    assert same.fingerprint == INPUTS.fingerprint
    assert len(INPUTS.fingerprint) == 64
    assert Inputs({**INPUTS.values, "version": 2}).fingerprint != INPUTS.fingerprint


def test_a_change_is_named() -> None:
    now = Inputs({"version": 1, "settings": {"epochs": 10, "loss": "soft_f1"}, "seed": 3})
    assert now.describe_change(INPUTS.values) == (
        'dataset "abababababababababababababababababa... -> null, seed null -> 3, settings.epochs 20 -> 10'
    )


def test_a_result_is_current_until_an_input_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "result.json"
    caplog.set_level(logging.INFO)
    assert find_current(path, INPUTS) is None
    assert not caplog.messages
    path.write_text(json.dumps({**INPUTS.as_description(), "seconds": 1.5}))
    write_checksums(tmp_path)
    found = find_current(path, INPUTS)
    assert found is not None
    assert found["seconds"] == 1.5
    assert find_current(path, Inputs({**INPUTS.values, "version": 2})) is None
    assert caplog.messages == [f"{path} is made again: version 1 -> 2"]


@pytest.mark.parametrize("damaged", ["result.json", "weights"])
def test_a_damaged_result_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture, damaged: str) -> None:
    for name in ("result.json", "weights"):
        (tmp_path / name).write_text(json.dumps(INPUTS.as_description()))
    write_checksums(tmp_path)
    path = tmp_path / damaged
    path.write_text(path.read_text().replace("soft_f1", "soft_f2"))
    assert find_current(tmp_path / "result.json", INPUTS) is None
    (message,) = caplog.messages
    assert message.startswith(f"{path} is damaged (its sha256 is another than when it was written)")
    path.unlink()
    assert find_current(tmp_path / "result.json", INPUTS) is None
    assert caplog.messages[1:] == [f"{path} is missing: {tmp_path} is made again"]


def test_a_result_of_an_earlier_version_without_hashes_is_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "result.json"
    path.write_text(json.dumps(INPUTS.as_description()))
    assert find_current(path, INPUTS) is None
    assert caplog.messages == [f"{path} was written by an earlier version: it is made again"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"made_of": "0123"}', "was written by an earlier version: it is made again"),
        ('{"inputs_fingerprint": ', "is damaged (Expecting value: line 1 column 24 (char 23)): it is made again"),
        ("[]", "is damaged ('list' object has no attribute 'get'): it is made again"),
    ],
)
def test_what_cannot_be_compared_is_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, says: str
) -> None:
    path = tmp_path / "result.json"
    path.write_text(text)
    caplog.set_level(logging.INFO)
    assert find_current(path, INPUTS) is None
    assert caplog.messages == [f"{path} {says}"]
