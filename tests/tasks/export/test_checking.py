from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tasks.errors import ExportError
from tasks.export.checking import answer_in_clean_process, compare_answers, compare_labels

VOCABULARY = ["a", "b", "c"]
PROBABILITIES = np.array([[0.9, 0.2, 0.5], [0.1, 0.300, 0.302]], np.float32)


@pytest.mark.parametrize(
    ("labels", "confidences", "difference"),
    [
        ([["a", "c"], ["c", "b"]], [[0.9, 0.5], [0.302, 0.300]], 0.0),
        ([["a", "c"], ["c", "b"]], [[0.905, 0.5], [0.302, 0.300]], 0.005),
        ([["a", "c"], ["b", "c"]], [[0.9, 0.5], [0.303, 0.302]], 0.003),  # a near tie, the other way round
    ],
)
def test_agreement(labels: list[list[str]], confidences: list[list[float]], difference: float) -> None:
    assert compare_labels(labels, confidences, PROBABILITIES, VOCABULARY) == pytest.approx(difference, abs=1e-6)


@pytest.mark.parametrize(
    ("labels", "confidences", "difference"),
    [
        ([["a", "c"], ["c", "b"]], [[0.88, 0.5], [0.302, 0.300]], 0.02),  # other confidence
        ([["a", "b"], ["c", "b"]], [[0.9, 0.5], [0.302, 0.300]], 0.3),  # other label
        ([["a", "b"], ["c", "b"]], [[0.9, 0.2], [0.302, 0.300]], 0.3),  # not the best
        ([["a", "c"], ["c", "b"]], [[0.9, float("nan")], [0.302, 0.300]], float("nan")),
    ],
)
def test_disagreement(labels: list[list[str]], confidences: list[list[float]], difference: float) -> None:
    assert compare_labels(labels, confidences, PROBABILITIES, VOCABULARY) == pytest.approx(
        difference, abs=1e-6, nan_ok=True
    )


def test_answers_of_every_output_are_compared() -> None:
    columns = ["a", "b", "decade 1990s", "decade 2000s", "score"]
    expected = np.array([[0.9, 0.2, 0.3, 0.7, 6.0]], np.float32)
    answers = {"labels": [["a"]], "confidences": [[0.9]], "decade": ["2000s"], "decade_confidence": [0.7], "score": [6]}
    assert compare_answers(answers, expected, columns) == pytest.approx(0, abs=1e-6)
    assert compare_answers({**answers, "score": [6.25]}, expected, columns) == pytest.approx(0.25)
    assert compare_answers({**answers, "decade": ["1990s"]}, expected, columns) == pytest.approx(0.4)
    assert compare_answers({**answers, "decade_confidence": [0.5]}, expected, columns) == pytest.approx(0.2)
    assert np.isnan(compare_answers({**answers, "score": [float("nan")]}, expected, columns))


def test_a_model_that_fails_in_the_clean_process_gives_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="can't be used in a clean process: .*saved_model"):
        answer_in_clean_process(tmp_path / "saved_model", [b"x"])


def test_a_model_that_needs_more_than_tensorflow_is_refused(tmp_path: Path) -> None:
    class NeedsPython(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
        def answer(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            labels = tf.py_function(lambda names: names, [image_bytes], tf.string)
            return {"labels": tf.reshape(labels, [-1, 1]), "confidences": tf.ones([tf.size(image_bytes), 1])}

    module = NeedsPython()
    tf.saved_model.save(module, str(tmp_path / "saved_model"), {"serving_default": module.answer})
    with pytest.raises(ExportError, match="clean process"):
        answer_in_clean_process(tmp_path / "saved_model", [b"x"])
