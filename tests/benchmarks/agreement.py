"""Compare a model's LiteRT predictions, preprocessed without TensorFlow, with those of its SavedModel.

    python tests/benchmarks/agreement.py MODEL_FOLDER POSTERS_FOLDER [--confidences FILE.npy] [--timed 1000]

Prints JSON: differences of the genres' confidences over all posters of the folder; decisions over 0.5 that differ;
seconds of both; and images/s of LiteRT with either preprocessing, in turns.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from measuring import compare, rate, take_turns
from numpy.typing import NDArray

from tasks.features.litert import LiteRTNetwork
from tasks.features.preprocessing import prepare_posters

BATCH_SIZE = 64
THRESHOLD = 0.5


def predict_with_saved_model(saved_model: Path, images: Sequence[bytes]) -> NDArray[np.float32]:
    """Returns the confidences of the signature `probabilities`, shape `(len(images), num_genres)`."""
    loaded = tf.saved_model.load(str(saved_model))
    signature = loaded.signatures["probabilities"]
    batches = [images[start : start + BATCH_SIZE] for start in range(0, len(images), BATCH_SIZE)]
    return np.concatenate([signature(image_bytes=tf.constant(batch))["confidences"].numpy() for batch in batches])


def measure_agreement(expected: NDArray[np.float32], found: NDArray[np.float32]) -> dict[str, Any]:
    """Returns differences of confidences and of decisions; both arrays of shape `(num_images, num_genres)`."""
    differences = np.abs(expected.astype(np.float64) - found)
    differing = (expected > THRESHOLD) != (found > THRESHOLD)
    return {
        "images": len(expected),
        "largest_difference": float(differences.max()),
        "mean_difference": float(differences.mean()),
        "differing_decisions": int(differing.sum()),
        "images_with_differing_decisions": int(differing.any(axis=1).sum()),
    }


def measure_rates(model: bytes, images: Sequence[bytes]) -> dict[str, Any]:
    """Returns images/s of the LiteRT model, prepared by NumPy and by TensorFlow, in turns."""
    network = LiteRTNetwork(model)

    def predict_prepared(batch: Sequence[bytes]) -> NDArray[np.float32]:
        return network.predict_pixels(prepare_posters(tf.constant(batch), network.image_size).numpy())

    ways = {
        "NumPy and Pillow": network.predict_images,
        "TensorFlow": lambda some: network.map_batches(predict_prepared, some),
    }
    for predict in ways.values():
        predict(images[:BATCH_SIZE])
    rates = {name: lambda predict=predict: rate(len(images), lambda: predict(images)) for name, predict in ways.items()}
    return compare("images/s", take_turns(rates))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_folder", type=Path)
    parser.add_argument("posters_folder", type=Path)
    parser.add_argument("--confidences", type=Path, help="the SavedModel's, kept from call to call: they take minutes")
    parser.add_argument("--timed", type=int, default=1000, help="images to time")
    arguments = parser.parse_args()
    images = [path.read_bytes() for path in sorted(arguments.posters_folder.iterdir())]
    saved_model, model = (
        arguments.model_folder / "saved_model",
        (arguments.model_folder / "classifier.tflite").read_bytes(),
    )

    if arguments.confidences and arguments.confidences.exists():
        expected = np.load(arguments.confidences)
    else:
        expected = predict_with_saved_model(saved_model, images)
        if arguments.confidences:
            np.save(arguments.confidences, expected)
    # Genres come before the columns of the other outputs.
    found = LiteRTNetwork(model).predict_images(images)[:, : expected.shape[1]]
    results: dict[str, Any] = {"agreement": measure_agreement(expected, found)}
    if arguments.timed:
        timed = images[: arguments.timed]
        results["rates"] = measure_rates(model, timed)
        start = time.perf_counter()
        predict_with_saved_model(saved_model, timed)
        results["saved_model_seconds"] = time.perf_counter() - start
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
