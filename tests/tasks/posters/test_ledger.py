import hashlib
import pickle
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_rows import NOW, make_row

from tasks.errors import RepairedError
from tasks.posters import ledger, segments
from tasks.posters.segments import LEDGER, Part, write_num_parts
from tasks.settings import PosterSettings

SETTINGS = PosterSettings()


def table(rows: Iterable[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=LEDGER).select(ledger.LIGHT_COLUMNS)


def select(films: dict[int, str], rows: Iterable[dict[str, Any]], **changes: Any) -> list[int]:
    chosen = [{"imdb_id": imdb_id, "poster_url": url} for imdb_id, url in films.items()]
    settings = SETTINGS.model_copy(update=changes)
    return [film["imdb_id"] for film in ledger.select_films(chosen, table(rows), settings, NOW)]


@pytest.mark.parametrize(("num_films", "num_parts"), [(1, 1), (1500, 1), (1501, 2), (7972, 8), (40_000, 32), (0, 1)])
def test_parts_have_about_the_configured_size(tmp_path: Path, num_films: int, num_parts: int) -> None:
    assert ledger.choose_num_parts(tmp_path, num_films, 1000) == num_parts


def test_number_of_parts_grows_with_the_catalog_and_never_falls(tmp_path: Path) -> None:
    sizes = [3000, 40_000, 3000]
    assert [ledger.choose_num_parts(tmp_path, size, 1000) for size in sizes] == [2, 32, 32]


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


@pytest.mark.parametrize("rows_at_once", [1, 30, 1000])
def test_every_film_is_in_its_part_in_the_order_of_the_catalog(
    monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    monkeypatch.setattr(ledger, "_ROWS_AT_ONCE", rows_at_once)
    films = [{"imdb_id": imdb_id, "poster_url": f"u{imdb_id}"} for imdb_id in (7, 3, 100, *range(200, 260))]
    pieces = [pa.Table.from_pylist(films[start : start + 20]) for start in range(0, len(films), 20)]
    parts = list(ledger.split_into_parts(pa.concat_tables(pieces), 8))
    for number, part in enumerate(parts):
        expected = [film for film in films if ledger.assign_part(film["imdb_id"], 8) == number]
        assert list(part) == expected == pickle.loads(pickle.dumps(part))
        assert (len(part), part[-1:], bool(part)) == (len(expected), expected[-1:], bool(expected))
    assert sum(map(len, parts)) == len(films)
    assert len(list(ledger.split_into_parts(pa.concat_tables(pieces).slice(0, 0), 4))) == 4


def test_posters_that_are_missing_or_have_another_address_are_selected() -> None:
    rows = [make_row(1, b"a", "u1"), make_row(2, None, "u2"), make_row(3, b"c", "old")]
    films = {1: "u1", 2: "u2", 3: "u3", 4: "u4"}
    assert select(films, rows) == [3, 4]
    assert select(films, rows, retry_failed=True) == [3, 4, 2]
    assert select(films, rows, refresh=True) == [1, 3, 4]


@pytest.mark.parametrize(
    ("reason", "http_status", "may_pass"),
    [
        *((f"http {status}", status, True) for status in (408, 425, 429, 500, 502, 503, 504)),
        *((f"http {status}", status, False) for status in (400, 401, 403, 404, 410)),
        *((reason, None, True) for reason in ("timeout", "connection broken", "no connection", "name not resolved")),
        *((reason, None, True) for reason in ("host unreachable", "host refuses", "network unreachable")),
        *((reason, 200, False) for reason in ("not an image", "broken image", "too large", "not decodable")),
    ],
)
def test_failures_that_may_pass_are_tried_again_and_others_are_forgotten_in_time(
    reason: str, http_status: int | None, may_pass: bool
) -> None:
    failed = make_row(1, None, "u1", reason=reason, http_status=http_status)
    assert select({1: "u1"}, [failed]) == [1] * may_pass
    old = {**failed, "fetched_at": NOW - timedelta(days=180, seconds=1)}
    assert select({1: "u1"}, [old]) == [1]
    assert select({1: "u1"}, [old], forget_after_days=200) == [1] * may_pass


def test_a_failed_new_address_is_not_requested_every_time() -> None:
    rows = [make_row(1, b"good", "old"), make_row(1, None, "new")]
    assert select({1: "new"}, rows) == []
    assert select({1: "newer"}, rows) == [1]
    assert ledger.find_current(table(rows))["url"].to_pylist() == ["old"]


def test_the_last_poster_of_a_film_counts_or_its_last_failure() -> None:
    rows = [
        make_row(1, b"a", "u1"),
        make_row(2, None, "u2"),
        make_row(1, b"b", "u2"),
        make_row(2, None, "u3"),
        make_row(1, None, "u4"),
    ]
    current = ledger.find_current(table(rows))
    assert current.select(["imdb_id", "url"]).to_pylist() == [{"imdb_id": 1, "url": "u2"}, {"imdb_id": 2, "url": "u3"}]


def test_posters_are_in_the_order_of_parts_and_ids_however_they_came(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b", "c")]
    ids = list(range(1, 60))
    for folder, pieces in zip(folders, ([ids], [ids[30:], ids[:30]], [ids[::2], ids[1::2]]), strict=True):
        write_num_parts(folder, 4)
        for piece in pieces:
            for number in range(4):
                part_ids = [imdb_id for imdb_id in piece if ledger.assign_part(imdb_id, 4) == number]
                Part(folder, number, 4).append([make_row(imdb_id, b"%d" % imdb_id) for imdb_id in part_ids])
    expected = [(imdb_id, b"%d" % imdb_id) for imdb_id in sorted(ids, key=lambda i: (ledger.assign_part(i, 4), i))]
    for folder in folders:
        assert list(ledger.iterate_posters(folder, set(ids))) == expected
        assert ledger.read_ledger(folder)["imdb_id"].to_pylist() == [imdb_id for imdb_id, _ in expected]
    assert [imdb_id for imdb_id, _ in ledger.iterate_posters(folders[0], {5, 6})] == sorted(
        [5, 6], key=lambda i: (ledger.assign_part(i, 4), i)
    )


def test_of_some_posters_only_their_segments_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a store, each would be two requests: some pictures of a report would need as many as all posters."""
    write_num_parts(tmp_path, 4)
    for imdb_id in range(40):
        Part(tmp_path, ledger.assign_part(imdb_id, 4), 4).append([make_row(imdb_id, b"%d" % imdb_id)])
    opened: list[Path] = []
    iterate_groups, read = segments.iterate_groups, segments.read_segment
    monkeypatch.setattr(
        ledger, "iterate_groups", lambda path, *given: [opened.append(path), iterate_groups(path, *given)][1]
    )
    read_parts = set()
    monkeypatch.setattr(
        ledger, "read_segment", lambda path, *given: [read_parts.add(path.name[:10]), read(path, *given)][1]
    )
    assert dict(ledger.iterate_posters(tmp_path, {3, 4})) == {3: b"3", 4: b"4"}
    assert len(opened) == len({3, 4})
    assert read_parts == {f"part-{ledger.assign_part(imdb_id, 4):05d}" for imdb_id in (3, 4)}
    assert list(ledger.iterate_posters(tmp_path, set())) == []


def test_posters_stay_when_the_number_of_parts_doubles(tmp_path: Path) -> None:
    write_num_parts(tmp_path, 1)
    Part(tmp_path, 0, 1).append([make_row(imdb_id, b"old") for imdb_id in range(20)])
    assert ledger.choose_num_parts(tmp_path, 60, 10) == 4
    number = ledger.assign_part(3, 4)
    Part(tmp_path, number, 4).append([make_row(3, b"new"), make_row(104, None)])
    posters = dict(ledger.iterate_posters(tmp_path, set(range(200))))
    assert posters == {**dict.fromkeys(range(20), b"old"), 3: b"new"}
    assert ledger.read_ledger(tmp_path).num_rows == 21


def test_a_wrong_poster_is_noticed_and_taken_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_num_parts(tmp_path, 1)
    part = Part(tmp_path, 0, 1)
    part.append([make_row(1, b"one"), make_row(2, b"two", sha256="0" * 64), make_row(3, None)])
    with pytest.raises(RepairedError, match=r"part-00000-of-00001-.*\.parquet is damaged \(the poster of 2"):
        list(ledger.iterate_posters(tmp_path, {1, 2}))
    assert list(ledger.iterate_posters(tmp_path, {1, 2})) == [(1, b"one")]
    assert ledger.read_ledger(tmp_path)["imdb_id"].to_pylist() == [1, 3]
    assert "1 of its 3 rows are lost" in caplog.text


def test_a_poster_that_can_not_be_decoded_is_a_failed_one(tmp_path: Path) -> None:
    write_num_parts(tmp_path, 1)
    Part(tmp_path, 0, 1).append([make_row(1, b"one"), make_row(2, b"two"), make_row(3, b"one")])
    ledger.mark_undecodable(tmp_path, [hashlib.sha256(b"one").hexdigest()])
    assert list(ledger.iterate_posters(tmp_path, {1, 2, 3})) == [(2, b"two")]
    rows = ledger.read_ledger(tmp_path).select(["imdb_id", "status", "reason", "sha256"]).to_pylist()
    assert [one["reason"] for one in rows] == ["not decodable", None, "not decodable"]
    assert rows[0]["sha256"] is None
    assert select({1: "http://x/1.jpg"}, [make_row(1, None, reason="not decodable", http_status=200)]) == []


def test_empty_ledger(tmp_path: Path) -> None:
    assert ledger.read_ledger(tmp_path / "none").num_rows == 0
    assert list(ledger.iterate_posters(tmp_path / "none", {1})) == []


def test_one_poster_is_read_and_nothing_is_changed(tmp_path: Path) -> None:
    write_num_parts(tmp_path, 4)
    numbers = {imdb_id: ledger.assign_part(imdb_id, 4) for imdb_id in range(1, 9)}
    for imdb_id, number in numbers.items():
        Part(tmp_path, number, 4).append([make_row(imdb_id, b"first %d" % imdb_id)])
    Part(tmp_path, numbers[3], 4).append([make_row(3, b"second")])
    Part(tmp_path, numbers[5], 4).append([make_row(5, None)])  # a failure replaces no poster
    assert ledger.read_poster(tmp_path, 3) == b"second"
    assert [ledger.read_poster(tmp_path, imdb_id) for imdb_id in (1, 5, 99, -1)] == [b"first 1", b"first 5", None, None]
    write_num_parts(tmp_path, 8)
    assert ledger.read_poster(tmp_path, 3) == b"second"
    for path in tmp_path.glob("*.parquet"):
        path.write_bytes(path.read_bytes()[:-20])
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert ledger.read_poster(tmp_path, 3) is None
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
