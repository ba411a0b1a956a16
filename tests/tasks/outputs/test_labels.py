import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tasks.outputs.labels import BestLabel, TopLabels

LABELS = ["Comedy", "Drame à clef", "Horror", "War"]
SCORES = np.array([[0.1, 0.9, 0.3, 0.5], [0.7, 0.2, 0.7, 0.1]], np.float32)


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
    keras.Model(scores, TopLabels(LABELS, k=1)(scores)).save(tmp_path / "model.keras")
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
