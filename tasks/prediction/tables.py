"""Predictions as a table: its schema, and its files."""

import csv
import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.atomic import atomic_file
from tasks.inert import for_csv
from tasks.outputs.output import find_output_classes
from tasks.prediction.images import ImageResult
from tasks.prediction.predictor import Prediction

_ROWS_PER_GROUP = 1024


def make_schema() -> pa.Schema:
    """Returns the schema of a table of predictions, whose names are the columns of its CSV, too."""
    return pa.schema(
        [
            pa.field("id", pa.string()),  # imdbId, where the images come from a CSV that has one
            pa.field("image", pa.string(), nullable=False),
            *(field for output in find_output_classes() for field in output.prediction_fields()),
            pa.field("error", pa.string()),  # why there is no prediction
        ]
    )


def make_table(results: Iterable[ImageResult[Prediction]]) -> pa.Table:
    """Returns a row for each result, without ids. Bytes of a file's name that are no UTF-8 become U+FFFD."""
    rows = [
        {
            "image": os.fsencode(result.image).decode("utf-8", "replace"),
            **(result.result or Prediction([], [])).as_dict(),
            "error": result.error,
        }
        for result in results
    ]
    return pa.Table.from_pylist(rows, schema=make_schema())


def write_parquet(table: pa.Table, path: Path) -> None:
    """Writes a table of predictions as Parquet."""
    with atomic_file(path) as partial:
        pq.write_table(table, partial, row_group_size=_ROWS_PER_GROUP)


def write_csv(table: pa.Table, path: Path) -> None:
    """Writes a table of predictions as CSV: lists are joined by `|`, and no text is a formula."""
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, table.column_names, lineterminator="\n")
        writer.writeheader()
        for batch in table.to_batches(max_chunksize=_ROWS_PER_GROUP):
            for row in batch.to_pylist():
                numbers = {
                    name: "|".join(f"{value:.4f}" for value in row[name]) for name in ("confidences", "calibrated")
                }
                texts = {**row, "labels": "|".join(row["labels"]), **numbers}
                writer.writerow({name: for_csv(value) for name, value in texts.items()})
