"""Print what a SavedModel answers for posters, as JSON: run by other versions of TensorFlow (make test-tensorflows).

python served_again.py SAVED_MODEL POSTER ...
"""

import json
import pathlib
import sys

import numpy as np
import tensorflow as tf

saved_model, *posters = sys.argv[1:]
files = [*(pathlib.Path(poster).read_bytes() for poster in posters), b"broken"]
signatures = tf.saved_model.load(saved_model).signatures
answers = {}
for name in ("serving_default", "probabilities", "embedding"):
    for key, values in signatures[name](image_bytes=tf.constant(files)).items():
        array = values.numpy()
        answers[f"{name} {key}"] = (array.astype("S").astype(str) if values.dtype == tf.string else array).tolist()
images = np.stack([tf.image.resize(tf.io.decode_jpeg(files[0], 3), (500, 460)).numpy()])
for key, values in signatures["images"](images=tf.constant(images, tf.float32)).items():
    array = values.numpy()
    answers[f"images {key}"] = (array.astype("S").astype(str) if values.dtype == tf.string else array).tolist()
print(json.dumps({"tensorflow": tf.__version__, "answers": answers}))
