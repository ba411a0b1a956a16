"""Run a SavedModel on posters, with TensorFlow and nothing else of this project: run as a script, never imported.

    python -I serve_in_clean_process.py SAVED_MODEL POSTERS RESULTS

POSTERS and RESULTS are JSON: a list of base64 files in, the tensors of `serving_default` as lists by name out.
"""

import base64
import json
import pathlib
import sys

import numpy as np
import tensorflow as tf

saved_model, posters_path, results_path = sys.argv[1:]
posters = [base64.b64decode(poster) for poster in json.loads(pathlib.Path(posters_path).read_text("utf-8"))]
signature = tf.saved_model.load(saved_model).signatures["serving_default"]
served = signature(image_bytes=tf.constant(posters))
own_modules = {name.split(".")[0] for name in sys.modules} & {"tasks", "flows"}
if own_modules:
    sys.exit(f"expected a process with nothing but TensorFlow, it loaded {sorted(own_modules)}")
results = {
    name: (
        np.char.decode(values.numpy().astype("S"), "utf-8") if values.dtype == tf.string else values.numpy()
    ).tolist()
    for name, values in served.items()
}
pathlib.Path(results_path).write_text(json.dumps(results), "utf-8")
