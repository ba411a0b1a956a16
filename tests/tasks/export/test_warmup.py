from pathlib import Path

import tensorflow as tf

from tasks.export.warmup import WARMUP_FILE, make_prediction_log, write_warmup_requests

# By tensorflow-serving-api 2.21.0: PredictionLog().SerializeToString(deterministic=True) with
# predict_log.request.model_spec.name = "m", .signature_name = "s", and inputs["x"] = make_tensor_proto([b"ab"]).
EXPECTED = bytes.fromhex("321d0a1b0a060a016d1a017312110a0178120c080712041202080142026162")


def test_a_request_is_what_tensorflow_servings_package_writes() -> None:
    tensor = tf.make_tensor_proto([b"ab"]).SerializeToString()
    assert make_prediction_log("m", "s", "x", tensor) == EXPECTED


def test_lengths_over_127_take_two_bytes_and_more() -> None:
    # The content of 200 bytes and 30,000: each message's length is that of what it contains.
    for size in (200, 30_000):
        rest = make_prediction_log("m", "s", "x", bytes(size))
        for nested in range(2):
            assert rest[0] == ((6 << 3) | 2, (1 << 3) | 2)[nested]
            length, rest = read_varint(rest[1:])
            assert length == len(rest)


def read_varint(content: bytes) -> tuple[int, bytes]:
    end = next(place for place, byte in enumerate(content) if byte < 128) + 1
    return sum((byte & 127) << 7 * place for place, byte in enumerate(content[:end])), content[end:]


def test_every_signature_is_warmed_up(tmp_path: Path) -> None:
    write_warmup_requests(tmp_path)
    assert WARMUP_FILE.as_posix() == "assets.extra/tf_serving_warmup_requests"
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(tmp_path / WARMUP_FILE))]
    for signature in ("serving_default", "probabilities", "embedding"):
        found = [record for record in records if signature.encode() in record]
        assert sorted(b"\x89PNG" in record for record in found) == [False, True]
        assert sorted(b"JFIF" in record for record in found) == [False, True]
    assert sum(b"images_uint8" in record for record in records) == 1
    assert len(records) == 8
    before = (tmp_path / WARMUP_FILE).read_bytes()
    write_warmup_requests(tmp_path)
    assert (tmp_path / WARMUP_FILE).read_bytes() == before
