import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tasks.outputs.decisions import DecisionRule, Order, sort_decided
from tasks.outputs.labels import BestLabel, DecidedLabels, TopLabels

LABELS = ["Comedy", "Drame à clef", "Horror", "War"]
SCORES = np.array([[0.1, 0.9, 0.3, 0.5], [0.7, 0.2, 0.7, 0.1]], np.float32)


# Of the first example the confidences are 0.88, 0.73, 0.12 and 0.62; of the second all are under 0.5.
LOGITS = np.array([[2.0, 1.0, -2.0, 0.5], [-1.0, -3.0, -2.0, -1.0]], np.float32)
THRESHOLDS = [-2.0, 1.0, 3.0, 0.0]  # so that the calibrated logits are 0, 2, 1, 0.5 and -3, -2, 1, -1


def sigmoid(logits: list[list[float]]) -> np.ndarray:
    return 1 / (1 + np.exp(-np.array(logits)))


def read(answer: dict[str, tf.Tensor]) -> list[list[str]]:
    return [[label.decode() for label in row] for row in answer["labels"].numpy().tolist()]


def test_labels_over_one_half_are_decided_on_and_at_least_the_first() -> None:
    answer = DecidedLabels(LABELS, THRESHOLDS, "calibrated")(LOGITS)
    assert read(answer) == [["Drame à clef", "War", "Comedy", ""], ["Horror", "", "", ""]]
    confidences = sigmoid([[1, 0.5, 2, 0], [-2, 0, 0, 0]]) * [[1, 1, 1, 0], [1, 0, 0, 0]]
    np.testing.assert_allclose(answer["confidences"], confidences, rtol=1e-6)
    calibrated = sigmoid([[2, 0.5, 0, 0], [1, 0, 0, 0]]) * [[1, 1, 1, 0], [1, 0, 0, 0]]
    np.testing.assert_allclose(answer["calibrated"], calibrated, rtol=1e-6)


def test_labels_by_confidence_and_of_equals_the_first() -> None:
    answer = DecidedLabels(LABELS, THRESHOLDS, "confidences")(LOGITS)
    assert read(answer) == [["Comedy", "Drame à clef", "War", ""], ["Comedy", "", "", ""]]


def test_at_most_so_many_labels() -> None:
    answer = DecidedLabels(LABELS, THRESHOLDS, "calibrated", top_k=2)(LOGITS)
    assert read(answer) == [["Drame à clef", "War"], ["Horror", ""]]
    assert DecidedLabels(LABELS, THRESHOLDS, "calibrated", top_k=9)(LOGITS)["labels"].shape == (2, 4)
    assert DecidedLabels(LABELS, THRESHOLDS, "calibrated")(LOGITS[:0])["labels"].shape == (0, 4)


@pytest.mark.parametrize("order", ["calibrated", "confidences"])
@pytest.mark.parametrize("top_k", [None, 1, 3])
def test_the_layer_decides_as_the_rule_does(order: Order, top_k: int | None) -> None:
    rng = np.random.default_rng(0)
    logits, thresholds = rng.normal(-0.5, 1, (200, 4)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    confidences, calibrated = (tf.sigmoid(values).numpy() for values in (logits, logits + thresholds))
    rule = DecisionRule(order, top_k)
    decisions = rule.decide(confidences, calibrated)
    columns = sort_decided(decisions, rule.rank(confidences, calibrated))
    expected = [
        [LABELS[column] for column in row[:named]] for row, named in zip(columns, decisions.sum(axis=1), strict=True)
    ]
    answer = read(DecidedLabels(LABELS, thresholds.tolist(), order, top_k)(logits))
    assert [[label for label in row if label] for row in answer] == expected


def test_its_shapes_config_and_errors() -> None:
    layer = DecidedLabels(LABELS, THRESHOLDS, "calibrated", 3, name="decided")
    spec = layer(keras.Input((4,)))
    assert {name: (values.shape, values.dtype) for name, values in spec.items()} == {
        "labels": ((None, 3), "string"),
        "confidences": ((None, 3), "float32"),
        "calibrated": ((None, 3), "float32"),
    }
    copy = keras.layers.deserialize(keras.layers.serialize(layer))
    assert read(copy(LOGITS)) == read(layer(LOGITS))
    assert copy.get_config() == layer.get_config()
    with pytest.raises(ValueError, match="at least 1. Received: top_k=0"):
        DecidedLabels(LABELS, THRESHOLDS, "calibrated", 0)
    with pytest.raises(ValueError, match="expected 4 thresholds"):
        DecidedLabels(LABELS, THRESHOLDS[1:], "calibrated")
    with pytest.raises(ValueError, match="must differ"):
        DecidedLabels(["a", "a"], [0, 0], "calibrated")
    with pytest.raises(ValueError, match="a logit for each of 4 labels"):
        DecidedLabels(LABELS, THRESHOLDS, "calibrated")(LOGITS[:, 1:])


def test_best_labels_first_and_of_equals_the_first() -> None:
    answer = TopLabels(LABELS, k=3)(SCORES)
    labels = [[label.decode() for label in row] for row in answer["labels"].numpy().tolist()]
    assert labels == [["Drame à clef", "War", "Horror"], ["Comedy", "Horror", "Drame à clef"]]
    np.testing.assert_allclose(answer["confidences"], [[0.9, 0.5, 0.3], [0.7, 0.7, 0.2]])
    assert (answer["labels"].dtype, answer["confidences"].dtype) == (tf.string, tf.float32)


def test_half_precision_scores_become_float32() -> None:
    assert TopLabels(LABELS, k=1)(tf.constant(SCORES, tf.float16))["confidences"].dtype == tf.float32


def test_shapes_and_dtypes_are_known_before_there_is_data() -> None:
    layer = TopLabels(LABELS, k=2)
    spec = layer(keras.Input((4,)))
    assert (spec["labels"].shape, spec["labels"].dtype) == ((None, 2), "string")
    assert (spec["confidences"].shape, spec["confidences"].dtype) == ((None, 2), "float32")
    assert layer.compute_output_shape((8, 4)) == {"labels": (8, 2), "confidences": (8, 2)}


@pytest.mark.parametrize("k", [0, 5])
def test_k_out_of_range(k: int) -> None:
    with pytest.raises(ValueError, match=f"between 1 and the number of labels, 4. Received: k={k}"):
        TopLabels(LABELS, k=k)


def test_repeated_labels_and_wrong_number_of_scores() -> None:
    with pytest.raises(ValueError, match="must differ"):
        TopLabels(["a", "a"], k=1)
    with pytest.raises(ValueError, match="a score for each of 4 labels"):
        TopLabels(LABELS, k=1)(np.zeros((1, 5), np.float32))


def test_config_round_trip() -> None:
    layer = TopLabels(LABELS, k=2, name="top")
    copy = keras.layers.deserialize(keras.layers.serialize(layer))
    assert (type(copy), copy.labels, copy.k, copy.name) == (TopLabels, LABELS, 2, "top")


def test_keras_file_loads_in_a_clean_process_without_custom_objects(tmp_path: Path) -> None:
    scores = keras.Input((4,))
    keras.Model(scores, DecidedLabels(LABELS, THRESHOLDS, "confidences", 1)(scores)).save(tmp_path / "model.keras")
    script = (
        "import keras, numpy, tasks.outputs.labels\n"
        f"model = keras.saving.load_model({str(tmp_path / 'model.keras')!r})\n"
        "print(model(numpy.array([[0, 0, 0, 1.0]]))['labels'].numpy())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[[b'War']]"


def test_best_label_of_those_of_which_one_is_true() -> None:
    layer = BestLabel(LABELS)
    answer = layer(SCORES)
    assert [label.decode() for label in answer["label"].numpy()] == ["Drame à clef", "Comedy"]
    np.testing.assert_allclose(answer["confidence"], [0.9, 0.7])
    spec = layer(keras.Input((4,)))
    assert (spec["label"].shape, spec["label"].dtype, spec["confidence"].dtype) == ((None,), "string", "float32")
    assert keras.layers.deserialize(keras.layers.serialize(layer)).labels == LABELS
