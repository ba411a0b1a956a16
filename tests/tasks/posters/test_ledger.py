from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.posters import ledger


def row(imdb_id: int, content: bytes | None, url: str = "http://x/1.jpg") -> dict[str, object]:
    return {
        "imdb_id": imdb_id,
        "url": url,
        "status": ledger.OK if content else ledger.FAILED,
        "reason": None if content else "http 404",
        "attempts": 1,
        "seconds": 0.1,
        "fetched_at": datetime(2026, 1, 1, tzinfo=UTC),
        "content": content,
    }


@pytest.mark.parametrize(("num_films", "num_parts"), [(1, 1), (1500, 1), (1501, 2), (7972, 8), (40_000, 32), (0, 1)])
def test_parts_have_about_the_configured_size(tmp_path: Path, num_films: int, num_parts: int) -> None:
    assert ledger.fix_num_parts(tmp_path, num_films, 1000) == num_parts


def test_number_of_parts_is_chosen_once(tmp_path: Path) -> None:
    assert ledger.fix_num_parts(tmp_path, 3000, 1000) == 2
    assert ledger.fix_num_parts(tmp_path, 300_000, 1000) == 2


@given(st.integers(0, 10**12), st.integers(1, 64))
def test_part_is_in_range(imdb_id: int, num_parts: int) -> None:
    assert 0 <= ledger.assign_part(imdb_id, num_parts) < num_parts


def test_assigned_part_never_changes() -> None:
    # Recorded once: other values would assign existing posters to other parts.
    assert [ledger.assign_part(imdb_id, 64) for imdb_id in (114709, 1, 0)] == [15, 54, 53]


def test_films_are_spread_evenly() -> None:
    films = pa.table({"imdb_id": range(8000), "poster_url": ["u"] * 8000})
    sizes = [len(part) for part in ledger.split_into_parts(films, 8)]
    assert sum(sizes) == 8000
    assert all(900 < size < 1100 for size in sizes)


def test_only_films_without_a_row_are_selected(tmp_path: Path) -> None:
    path = ledger.part_path(tmp_path, 0)
    ledger.update_part(path, [row(1, b"a", "u1"), row(2, None, "u2"), row(3, b"c", "old")])
    films = [{"imdb_id": index, "poster_url": f"u{index}"} for index in (1, 2, 3, 4)]
    known = ledger.read_part(path, ["imdb_id", "url", "status"])
    missing = ledger.select_films(films, known, retry_failed=False, refresh=False)
    with_failed = ledger.select_films(films, known, retry_failed=True, refresh=False)
    assert [film["imdb_id"] for film in missing] == [3, 4]
    assert [film["imdb_id"] for film in with_failed] == [2, 3, 4]


def test_update_replaces_rows_and_keeps_the_order_of_ids(tmp_path: Path) -> None:
    path = ledger.part_path(tmp_path, 0)
    ledger.update_part(path, [row(5, b"five"), row(3, None)])
    ledger.update_part(path, [row(3, b"three"), row(4, b"four")])
    table = ledger.read_part(path)
    assert table.schema == ledger.LEDGER
    assert table.select(["imdb_id", "status", "content"]).to_pylist() == [
        {"imdb_id": 3, "status": "ok", "content": b"three"},
        {"imdb_id": 4, "status": "ok", "content": b"four"},
        {"imdb_id": 5, "status": "ok", "content": b"five"},
    ]


def test_a_failure_does_not_replace_a_poster(tmp_path: Path) -> None:
    path = ledger.part_path(tmp_path, 0)
    ledger.update_part(path, [row(1, b"good", "old")])
    ledger.update_part(path, [row(1, None, "new")])
    assert ledger.read_part(path)["content"].to_pylist() == [b"good"]
    film = {"imdb_id": 1, "poster_url": "new"}
    assert ledger.select_films([film], ledger.read_part(path), retry_failed=False, refresh=False) == [film]


def test_bytes_of_a_part_do_not_depend_on_the_order_of_updates(tmp_path: Path) -> None:
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    ledger.update_part(first, [row(1, b"x"), row(2, b"y")])
    ledger.update_part(second, [row(2, b"y")])
    ledger.update_part(second, [row(1, b"x")])
    assert first.read_bytes() == second.read_bytes()


def test_a_part_has_small_row_groups(tmp_path: Path) -> None:
    path = ledger.part_path(tmp_path, 0)
    ledger.update_part(path, [row(index, b"x") for index in range(300)])
    assert pq.ParquetFile(path).metadata.num_row_groups == 3


def test_empty_ledger(tmp_path: Path) -> None:
    assert ledger.read_ledger(tmp_path).num_rows == 0
    assert ledger.read_part(tmp_path / "none.parquet").num_rows == 0
