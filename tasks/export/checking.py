"""Compare an exported model with the pipeline that it came from."""

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
from tasks.outputs.output import Output, split_columns

_SCRIPT = Path(__file__).with_name("serve_in_clean_process.py")
_TIMEOUT_SECONDS = 300


def serve_in_clean_process(saved_model: Path, posters: Sequence[bytes]) -> dict[str, list[Any]]:
    """Loads a SavedModel in a process that has only TensorFlow, and returns its predictions for posters.

    Returns:
        The tensors of `serving_default` as lists, a row a poster: `labels` and `confidences`, and `decade` and the like
        where the model has more outputs.

    Raises:
        ExportError: The process failed; with its last line of output.
    """
    with tempfile.TemporaryDirectory() as folder:
        posters_path, results_path = Path(folder, "posters.json"), Path(folder, "results.json")
        posters_path.write_text(json.dumps([base64.b64encode(poster).decode() for poster in posters]), "utf-8")
        command = [sys.executable, "-I", _SCRIPT, saved_model.resolve(), posters_path, results_path]
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
            raise ExportError(
                f"the exported model {saved_model} did not respond in {_TIMEOUT_SECONDS} s: run it again when the "
                "machine is less busy"
            ) from error
        if done.returncode:
            last_line = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise ExportError(
                f"the exported model {saved_model} fails in a clean process: {last_line[0]}; nothing is published: "
                "check the installed packages (poster-genres doctor), and run it again"
            )
        results: dict[str, list[Any]] = json.loads(results_path.read_text("utf-8"))
    return results


def compare_served(served: Mapping[str, list[Any]], columns: NDArray[np.float32], outputs: Sequence[Output]) -> float:
    """Returns the largest difference between a SavedModel's predictions and the expected ones for the same posters.

    Args:
        served: Predictions as `serve_in_clean_process` returns them.
        columns: Expected columns of all outputs, shape `(num_posters, num_columns)`.
        outputs: The outputs.
    """
    parts = zip(outputs, split_columns(outputs, columns), strict=True)
    # NumPy's maximum: that of Python would hide a NaN.
    return float(np.max([output.compare_served(served, part) for output, part in parts]))
