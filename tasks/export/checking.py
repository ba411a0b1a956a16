"""Hold an exported model to the pipeline it came from."""

import base64
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors import ExportError
from tasks.export import classifier

_ANSWER_SCRIPT = Path(classifier.__file__).with_name("answer.py")
_TIMEOUT_SECONDS = 300


def answer_in_clean_process(saved_model: Path, posters: Sequence[bytes]) -> dict[str, list[list[Any]]]:
    """Loads a SavedModel in a process that has only TensorFlow, and returns its answers about posters.

    Returns:
        `labels`, strings, and `confidences`, floats; a list of the best k for each poster.

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
        answers: dict[str, list[list[Any]]] = json.loads(answers_path.read_text("utf-8"))
    return answers


def compare_answers(
    answers: dict[str, list[list[Any]]], confidences: NDArray[np.float32], vocabulary: Sequence[str]
) -> float:
    """Returns the largest difference between a model's answers and the pipeline's about the same posters.

    That is of each label's confidence from the pipeline's for that label, and of the k confidences from the pipeline's
    k highest. (Two labels that are nearly equal may be in either order.)

    Args:
        answers: as `answer_in_clean_process` gives them.
        confidences: the pipeline's, shape `(num_posters, num_genres)`.
        vocabulary: the genres, in the order of the columns.
    """
    columns = {name: column for column, name in enumerate(vocabulary)}
    answered = np.array(answers["confidences"])
    chosen = np.array([[columns[label] for label in row] for row in answers["labels"]])
    of_labels = np.take_along_axis(confidences, chosen, axis=1)
    highest = -np.sort(-confidences, axis=1)[:, : answered.shape[1]]
    return float(np.maximum(np.abs(answered - of_labels), np.abs(answered - highest)).max())
