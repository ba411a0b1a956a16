"""Compare what a published SavedModel answers in several versions of TensorFlow.

    python tests/benchmarks/tensorflows.py MODEL_FOLDER POSTERS_FOLDER PYTHON [PYTHON ...]

Each PYTHON is an interpreter that has a TensorFlow and numpy; nothing of this project is imported there. Every
signature is called with 16 posters and one broken file. Prints for each version the largest difference of any number
from the first one's, and whether all strings are equal; exits with an error over 0.001.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

ANSWER = """
import json, pathlib, sys
import numpy as np
import tensorflow as tf

saved_model, *posters = sys.argv[1:]
files = [*(pathlib.Path(poster).read_bytes() for poster in posters), b"broken"]
pixels = tf.image.resize(tf.io.decode_jpeg(files[0], 3), (500, 460))[None]
answers = {}
for name, signature in tf.saved_model.load(saved_model).signatures.items():
    if name == "images":
        outputs = signature(images=pixels)
    elif name == "images_uint8":
        outputs = signature(images=tf.cast(pixels, tf.uint8))
    else:
        outputs = signature(image_bytes=tf.constant(files))
    for key, values in outputs.items():
        array = values.numpy()
        answers[name + " " + key] = (array.astype("S").astype(str) if values.dtype == tf.string else array).tolist()
print(json.dumps({"tensorflow": tf.__version__, "answers": answers}))
"""
MAX_DIFFERENCE = 1e-3


def answer(python: str, saved_model: Path, posters: list[Path]) -> dict[str, Any]:
    """Returns the version of an interpreter's TensorFlow, and the outputs by signature and name."""
    command = [python, "-I", "-c", ANSWER, str(saved_model), *map(str, posters)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    model, folder, *pythons = sys.argv[1:]
    posters = sorted(Path(folder).iterdir())[:16]
    first, *others = [answer(python, Path(model) / "saved_model", posters) for python in pythons]
    failed = False
    for other in others:
        strings_equal, difference = True, 0.0
        for name, expected in first["answers"].items():
            found = other["answers"][name]
            if np.array(expected).dtype.kind == "U":
                strings_equal &= found == expected
            else:
                difference = max(difference, float(np.abs(np.array(found) - np.array(expected)).max()))
        print(f"{first['tensorflow']}, {other['tensorflow']}: {difference:.1e}, strings equal: {strings_equal}")
        failed |= difference > MAX_DIFFERENCE or not strings_equal
    sys.exit(failed)


if __name__ == "__main__":
    main()
