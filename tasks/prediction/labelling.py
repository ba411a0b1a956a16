"""Label a folder or a catalog of posters: `labels.parquet` and `labels.csv`."""

import csv
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.atomic import atomic_folder
from tasks.catalog.reading import read_rows
from tasks.errors import SettingsError
from tasks.inert import for_csv
from tasks.outputs.output import find_output_classes
from tasks.prediction.images import ImageResult, list_images, process_images
from tasks.prediction.predictor import Prediction, Predictor

logger = logging.getLogger(__name__)

FILES = ("labels.parquet", "labels.csv")

_ROWS_PER_GROUP = 1024


def make_schema() -> pa.Schema:
    """Returns the schema of `labels.parquet`, whose names are the columns of `labels.csv`, too."""
    return pa.schema(
        [
            pa.field("id", pa.string()),  # imdbId, where the CSV has one
            pa.field("image", pa.string(), nullable=False),
            *(field for output in find_output_classes() for field in output.prediction_fields()),
            pa.field("error", pa.string()),  # why there is no prediction
        ]
    )


@dataclass(frozen=True)
class Labelled:
    """The result of labelling: the folder of `FILES`, and how many images were labelled or failed, by reason."""

    folder: Path
    num_labelled: int
    errors: dict[str, int]


def list_posters(source: str) -> pa.Table:
    """Returns the images of a folder, or those in the column `Poster` of a CSV: strings `id`, may be null, and `image`.

    Raises:
        SettingsError: There are none.
        CatalogError: The CSV cannot be read or has no such column.
    """
    if not urlsplit(source).path.lower().endswith(".csv"):
        images = list_images([source])
        return pa.table({"id": pa.nulls(len(images), pa.string()), "image": images})
    rows, _ = read_rows(source, required=["Poster"], optional=["imdbId"])
    if not any(pc.utf8_trim_whitespace(rows["Poster"]).to_pylist()):
        raise SettingsError(f"{source} names no poster: expected files or addresses in its column Poster")
    ids = rows["imdbId"] if "imdbId" in rows.column_names else pa.nulls(rows.num_rows, pa.string())
    return pa.table({"id": pc.utf8_trim_whitespace(ids), "image": pc.utf8_trim_whitespace(rows["Poster"])})


def write_labels(predictor: Predictor, posters: pa.Table, output_dir: Path) -> Labelled:
    """Predicts posters and writes a row each, in their order; predictions are not held in memory.

    Args:
        predictor: The model.
        posters: Posters as `list_posters` returns them.
        output_dir: Folder to write, which appears whole or not at all.
    """
    errors: Counter[str] = Counter()
    ids, images = posters["id"].to_pylist(), posters["image"].to_pylist()
    schema = make_schema()
    with (
        atomic_folder(output_dir) as partial,
        pq.ParquetWriter(partial / FILES[0], schema) as parquet,
        (partial / FILES[1]).open("w", encoding="utf-8", newline="") as file,
    ):
        table = csv.DictWriter(file, schema.names, lineterminator="\n")
        table.writeheader()
        rows: list[dict[str, Any]] = []
        for number, result in enumerate(process_images(images, predictor.predict)):
            errors.update([result.error] if result.error else [])
            row = _make_row(ids[number], result)
            rows.append(row)
            confidences = "|".join(f"{value:.4f}" for value in row["confidences"])
            texts = {**row, "labels": "|".join(row["labels"]), "confidences": confidences}
            table.writerow({name: for_csv(value) for name, value in texts.items()})
            if len(rows) == _ROWS_PER_GROUP or number + 1 == len(images):
                parquet.write_table(pa.Table.from_pylist(rows, schema=schema))
                rows.clear()
                failed = dict(errors.most_common()) or "none"
                logger.info("label: %d of %d images; failed: %s", number + 1, len(images), failed)
    return Labelled(output_dir, len(images) - errors.total(), dict(errors.most_common()))


def _make_row(poster_id: str | None, result: ImageResult[Prediction]) -> dict[str, Any]:
    prediction = result.result or Prediction([], [])
    return {"id": poster_id, "image": result.image, **prediction.as_dict(), "error": result.error}
