"""Parquet files written a part at a time, with the same bytes as if the whole table were written at once."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_GROUP_ROWS = 1 << 20  # as `pyarrow.parquet.write_table` has them


def write_tables(tables: Iterable[pa.Table], schema: pa.Schema, path: Path) -> None:
    """Writes the rows of some tables to a file; its row groups are the same, whatever the number of rows of each is.

    Args:
        tables: The tables, of which as many as fill a row group are in memory at a time.
        schema: Schema of each.
        path: Path of the file.
    """
    with pq.ParquetWriter(path, schema) as writer:
        waiting, num_rows = schema.empty_table(), 0
        for table in tables:
            waiting = pa.concat_tables([waiting, table])
            num_rows += table.num_rows
            while waiting.num_rows >= _GROUP_ROWS:
                # In one piece, since pages end where pieces do.
                writer.write_table(waiting.slice(0, _GROUP_ROWS).combine_chunks(), _GROUP_ROWS)
                waiting = waiting.slice(_GROUP_ROWS)
        if waiting.num_rows or not num_rows:
            writer.write_table(waiting.combine_chunks(), _GROUP_ROWS)
