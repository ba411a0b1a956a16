"""The model for the edge: one LiteRT file from resized pixels to numbers, which carries the names of its columns."""

import zipfile
from pathlib import Path

from tasks.export.classifier import Classifier
from tasks.features.litert import convert

# The name that LiteRT's own tools give to a file of labels, a line each.
_LABELS = "labels.txt"


def write_lite(classifier: Classifier, path: Path) -> None:
    """Writes `Classifier.build_flat_model` as a LiteRT model, with the columns' names in it.

    The names are a zip archive behind the model, as LiteRT's "associated files" are: `unzip -p FILE labels.txt`.
    """
    path.write_bytes(convert(classifier.build_flat_model()))
    with zipfile.ZipFile(path, "a") as archive:
        # Of a set time, so that the same model is the same file.
        archive.writestr(zipfile.ZipInfo(_LABELS), "".join(f"{name}\n" for name in classifier.columns))


def read_columns(path: Path) -> list[str]:
    """Returns the names of a LiteRT model's columns, `Classifier.columns`; none, if it is of an earlier version."""
    if not zipfile.is_zipfile(path):
        return []
    with zipfile.ZipFile(path) as archive:
        return archive.read(_LABELS).decode().splitlines()
