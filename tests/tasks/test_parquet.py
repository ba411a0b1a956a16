from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks import parquet
from tasks.parquet import write_tables

SCHEMA = pa.schema([("number", pa.int64()), ("text", pa.string()), ("names", pa.list_(pa.string()))])


@pytest.mark.parametrize("num_rows", [0, 1, 99, 100, 101, 250])
@pytest.mark.parametrize("num_at_once", [1, 7, 100, 1000])
def test_the_bytes_are_those_of_one_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, num_rows: int, num_at_once: int
) -> None:
    monkeypatch.setattr(parquet, "_GROUP_ROWS", 100)
    rows = [{"number": number, "text": f"T{number}" * 50, "names": ["é"] * (number % 3)} for number in range(num_rows)]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    pq.write_table(table, tmp_path / "whole.parquet", row_group_size=100)
    pieces = (table.slice(start, num_at_once) for start in range(0, num_rows, num_at_once))
    write_tables(pieces, SCHEMA, tmp_path / "pieces.parquet")
    assert (tmp_path / "pieces.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_groups_are_those_of_pyarrow(tmp_path: Path) -> None:
    table = pa.table({"number": range(parquet._GROUP_ROWS + 1)}, schema=SCHEMA.empty_table().select(["number"]).schema)
    pq.write_table(table, tmp_path / "whole.parquet")
    write_tables([table], table.schema, tmp_path / "pieces.parquet")
    assert (tmp_path / "pieces.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
