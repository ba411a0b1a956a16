"""Hold an exported model to the pipeline it came from."""

import base64
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors import ExportError
from tasks.training.outputs import DECADE, SCORE

_ANSWER_SCRIPT = Path(__file__).with_name("answer.py")
_TIMEOUT_SECONDS = 300


def answer_in_clean_process(saved_model: Path, posters: Sequence[bytes]) -> dict[str, list[Any]]:
    """Loads a SavedModel in a process that has only TensorFlow, and returns its answers about posters.

    Returns:
        What `serving_default` gives: `labels`, strings, and `confidences`, floats, a list of the best k for each
        poster; and a `decade` and the like, where the model has more outputs.

    Raises:
        ExportError: if the process fails; with its last words.
    """
    with tempfile.TemporaryDirectory() as folder:
        posters_path, answers_path = Path(folder, "posters.json"), Path(folder, "answers.json")
        posters_path.write_text(json.dumps([base64.b64encode(poster).decode() for poster in posters]), "utf-8")
        command = [sys.executable, "-I", _ANSWER_SCRIPT, saved_model.resolve(), posters_path, answers_path]
        try:
            done = subprocess.run(
                [str(argument) for argument in command],
                cwd=folder,
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ExportError(f"the exported model {saved_model} gave no answer in {_TIMEOUT_SECONDS} s") from error
        if done.returncode:
            last_words = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise ExportError(f"the exported model {saved_model} can't be used in a clean process: {last_words[0]}")
        answers: dict[str, list[Any]] = json.loads(answers_path.read_text("utf-8"))
    return answers


def compare_answers(answers: Mapping[str, list[Any]], expected: NDArray[np.float32], columns: Sequence[str]) -> float:
    """Returns the largest difference between a model's answers and what others expect about the same posters.

    See `compare_labels` for genres and decades; of scores, in points.

    Args:
        answers: as `answer_in_clean_process` gives them.
        expected: shape `(num_posters, len(columns))`.
        columns: their names, as `Classifier.columns` has them.
    """
    decades = [name for name in columns if name.startswith(f"{DECADE} ")]
    genres = [name for name in columns if name not in decades and name != SCORE]
    parts = np.split(expected, [len(genres), len(genres) + len(decades)], axis=1)
    differences = [compare_labels(answers["labels"], answers["confidences"], parts[0], genres)]
    if decades:
        labels = [[f"{DECADE} {decade}"] for decade in answers["decade"]]
        confidences = [[confidence] for confidence in answers["decade_confidence"]]
        differences.append(compare_labels(labels, confidences, parts[1], decades))
    if SCORE in columns:
        differences.append(float(np.abs(np.array(answers[SCORE]) - parts[2][:, 0]).max()))
    # NumPy's: that of Python would let a NaN pass.
    return float(np.max(differences))


def compare_labels(
    labels: Sequence[Sequence[str]],
    confidences: Sequence[Sequence[float]],
    expected: NDArray[np.float32],
    vocabulary: Sequence[str],
) -> float:
    """Returns the largest difference between the k best labels of posters and what others expect.

    That is of each label's confidence from the one expected for it, and of the k confidences from the k highest
    expected. (Two labels that are nearly equal may be in either order.)

    Args:
        labels: the best k of each poster.
        confidences: of the labels.
        expected: of all labels, shape `(num_posters, len(vocabulary))`.
        vocabulary: their names, in the order of the columns.
    """
    columns = {name: column for column, name in enumerate(vocabulary)}
    answered = np.array(confidences)
    chosen = np.array([[columns[label] for label in row] for row in labels])
    of_labels = np.take_along_axis(expected, chosen, axis=1)
    highest = -np.sort(-expected, axis=1)[:, : answered.shape[1]]
    return float(np.maximum(np.abs(answered - of_labels), np.abs(answered - highest)).max())
