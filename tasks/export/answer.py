"""Ask a SavedModel about posters, with TensorFlow and nothing else of this project: run as a script, never imported.

    python -I answer.py SAVED_MODEL POSTERS ANSWERS

POSTERS and ANSWERS are JSON: a list of base64 files in, `{"labels": [[...]], "confidences": [[...]]}` and whatever else
the model answers out.
"""

import base64
import json
import pathlib
import sys

import numpy as np
import tensorflow as tf

saved_model, posters_path, answers_path = sys.argv[1:]
posters = [base64.b64decode(poster) for poster in json.loads(pathlib.Path(posters_path).read_text("utf-8"))]
model = tf.saved_model.load(saved_model)
answer = model.signatures["serving_default"](image_bytes=tf.constant(posters))
own_modules = {name.split(".")[0] for name in sys.modules} & {"tasks", "flows"}
if own_modules:
    sys.exit(f"this process should know nothing but TensorFlow, yet it loaded {sorted(own_modules)}")
answers = {
    name: (
        np.char.decode(values.numpy().astype("S"), "utf-8") if values.dtype == tf.string else values.numpy()
    ).tolist()
    for name, values in answer.items()
}
pathlib.Path(answers_path).write_text(json.dumps(answers), "utf-8")
