"""The LiteRT model: one file from resized pixels to a row of numbers, with the names of its columns in it."""

import zipfile
from pathlib import Path

from tasks.export.classifier import Classifier
from tasks.features.conversion import convert
from tasks.model_folder import LABELS_MEMBER


def write_lite(classifier: Classifier, path: Path) -> None:
    """Writes `Classifier.build_flat_model` as a LiteRT model, with the columns' names in it.

    The names are a zip archive behind the model, as LiteRT's "associated files" are: `unzip -p FILE labels.txt`.
    """
    path.write_bytes(convert(classifier.build_flat_model()))
    with zipfile.ZipFile(path, "a") as archive:
        # With a fixed time, so that the same model is the same file.
        archive.writestr(zipfile.ZipInfo(LABELS_MEMBER), "".join(f"{name}\n" for name in classifier.column_names))
