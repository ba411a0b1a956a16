from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tasks.errors import ExportError
from tasks.export.checking import compare_served, serve_in_clean_process
from tasks.outputs.calibration import Calibration
from tasks.outputs.decade import DecadeOutput
from tasks.outputs.embedding import EmbeddingOutput
from tasks.outputs.genres import GenresOutput
from tasks.outputs.output import Output
from tasks.outputs.score import ScoreOutput


def test_predictions_of_every_output_are_compared() -> None:
    zeros = np.zeros(2, np.float32)
    outputs: list[Output] = [
        GenresOutput(["a", "b"], calibration=Calibration(zeros + 1, zeros, zeros)),
        DecadeOutput([1990, 2000]),
        ScoreOutput(0, 1),
        EmbeddingOutput(4, 2, 1),
    ]
    expected = np.array([[0.9, 0.2, 0.3, 0.7, 6.0]], np.float32)
    genres = {"labels": [["a", ""]], "confidences": [[0.9, 0]], "calibrated": [[0.9, 0]]}
    served = {**genres, "decade": ["2000s"], "decade_confidence": [0.7], "score": [6]}
    assert compare_served(served, expected, outputs) == pytest.approx(0, abs=1e-6)
    assert compare_served({**served, "score": [6.25]}, expected, outputs) == pytest.approx(0.25)
    assert compare_served({**served, "decade": ["1990s"]}, expected, outputs) == pytest.approx(0.4)
    assert compare_served({**served, "decade_confidence": [0.5]}, expected, outputs) == pytest.approx(0.2)
    assert np.isnan(compare_served({**served, "score": [float("nan")]}, expected, outputs))


def test_a_model_that_fails_in_the_clean_process_is_named_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="fails in a clean process: .*saved_model"):
        serve_in_clean_process(tmp_path / "saved_model", [b"x"])


def test_a_model_that_needs_more_than_tensorflow_is_refused(tmp_path: Path) -> None:
    class NeedsPython(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
        def serve(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            labels = tf.py_function(lambda names: names, [image_bytes], tf.string)
            return {"labels": tf.reshape(labels, [-1, 1]), "confidences": tf.ones([tf.size(image_bytes), 1])}

    module = NeedsPython()
    tf.saved_model.save(module, str(tmp_path / "saved_model"), {"serving_default": module.serve})
    with pytest.raises(ExportError, match="clean process"):
        serve_in_clean_process(tmp_path / "saved_model", [b"x"])
