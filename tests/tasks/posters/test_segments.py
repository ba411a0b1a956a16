import json
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ledger_rows import make_row

from tasks.hashing import hash_file
from tasks.posters import ledger, segments
from tasks.posters.segments import (
    LEDGER,
    Part,
    list_parts,
    read_num_parts,
    read_segment,
    remove_leftovers,
    write_num_parts,
)


def read_all(part: Part) -> list[dict[str, Any]]:
    return [one for path in part.paths() for one in read_segment(path).to_pylist()]


@pytest.fixture
def part(tmp_path: Path) -> Part:
    write_num_parts(tmp_path, 1)
    return Part(tmp_path, 0, 1)


def damage(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_a_segment_is_named_by_its_content_and_listed(part: Part) -> None:
    part.append([make_row(5, b"five"), make_row(3, None)])
    part.append([make_row(4, b"four")])
    first, second = part.segments()
    assert [segment.num_rows for segment in (first, second)] == [2, 1]
    for segment in (first, second):
        path = part.folder / segment.name
        assert segment.name == f"part-00000-of-00001-{hash_file(path)[:16]}.parquet"
        assert (segment.sha256, segment.num_bytes) == (hash_file(path), path.stat().st_size)
    assert [one["imdb_id"] for one in read_all(part)] == [3, 5, 4]
    assert read_segment(part.paths()[0]).schema == LEDGER


def test_row_groups_are_bounded_by_rows_and_by_bytes(part: Part) -> None:
    part.append([make_row(index, b"x") for index in range(256)])
    part.append([make_row(index, bytes(1_500_000)) for index in range(10)])
    small, large = (pq.ParquetFile(path).metadata for path in part.paths())
    assert small.num_row_groups == 2
    assert [large.row_group(index).num_rows for index in range(large.num_row_groups)] == [2] * 5


def test_many_small_segments_are_joined_without_outdated_rows(part: Part) -> None:
    big = make_row(0, bytes(5_000_000))
    part.append([big])
    for day in range(9):
        part.append([make_row(1, None, fetched_at=make_row(0, b"x")["fetched_at"].replace(day=day + 1))])
        ledger.join_small_segments(part)
    part.append([make_row(2, b"two")])
    assert len(part.segments()) == 3  # the large one, the joined ones, the last
    assert [one["imdb_id"] for one in read_all(part)] == [0, 1, 2]
    assert read_all(part)[1]["fetched_at"].day == 9


def test_files_that_no_manifest_lists_are_removed(part: Part) -> None:
    part.append([make_row(1, b"one")])
    listed = part.paths()
    left = part.folder / f"{part.name}-{'0' * 16}.parquet"
    left.write_bytes(b"of a killed process")
    remove_leftovers(part.folder)
    assert not left.exists()
    assert part.paths() == listed
    assert listed[0].exists()


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"segments": [{"name": "x"}]}', b"[]", b'{"segments": 3}'])
def test_a_damaged_manifest_is_made_again(part: Part, content: bytes | None, caplog: pytest.LogCaptureFixture) -> None:
    part.append([make_row(1, b"one")])
    part.append([make_row(2, b"two")])
    before = part.segments()
    manifest = part.folder / f"{part.name}.json"
    manifest.unlink() if content is None else manifest.write_bytes(content)
    assert [found.name for found in list_parts(part.folder)] == [part.name]
    assert sorted(part.segments(), key=str) == sorted(before, key=str)
    assert str(manifest) in caplog.text
    assert json.loads(manifest.read_text("utf-8"))["segments"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"num_parts": "many"}'])
def test_a_damaged_number_of_parts_is_found_again(tmp_path: Path, content: bytes) -> None:
    write_num_parts(tmp_path, 4)
    Part(tmp_path, 2, 4).append([make_row(1, b"one")])
    (tmp_path / "ledger.json").write_bytes(content)
    assert read_num_parts(tmp_path) == 4
    assert read_num_parts(tmp_path) == 4


def test_a_damaged_number_of_parts_without_any_part(tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_bytes(b"")
    assert read_num_parts(tmp_path) is None
    assert read_num_parts(tmp_path) is None


@pytest.mark.parametrize("what", ["deleted", "truncated", "empty", "flipped in a poster", "flipped at the end"])
def test_a_damaged_segment_keeps_what_can_be_read(part: Part, what: str, caplog: pytest.LogCaptureFixture) -> None:
    part.append([make_row(number, b"%d" % number * 1000) for number in range(200)])  # two row groups
    part.append([make_row(1000, b"other")])
    path = part.paths()[0]
    size = path.stat().st_size
    if what == "deleted":
        path.unlink()
    elif what == "flipped in a poster":
        damage(path, path.read_bytes().index(b"7" * 1000))
    elif what == "flipped at the end":
        damage(path, size - 2)
    else:
        path.write_bytes(path.read_bytes()[: size // 2 if what == "truncated" else 0])
    with caplog.at_level(logging.WARNING):
        if what == "flipped in a poster":
            with pytest.raises(ledger.RepairedError):
                list(ledger.iterate_posters(part.folder, set(range(200))))
        kept = ledger.read_rows([part])["imdb_id"].to_pylist()
    # The other row group of 128, which is not damaged.
    assert kept == ([*range(128, 200), 1000] if what == "flipped in a poster" else [1000])
    (line,) = (record.getMessage() for record in caplog.records)
    assert path.name in line
    assert f"{201 - len(kept)} of its 200 rows are lost" in line
    assert not path.exists()
    assert len(dict(ledger.iterate_posters(part.folder, set(range(2000))))) == len(kept)


def test_an_error_of_the_machine_removes_nothing(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    part.append([make_row(1, b"one")])

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(segments.pq, "read_table", fail)
    with pytest.raises(OSError, match="Input/output"):
        ledger.read_rows([part])
    assert part.paths()[0].exists()


def test_parts_of_version_0_1_are_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "part-00001.parquet"
    pq.write_table(pa.Table.from_pylist([make_row(1, b"one"), make_row(7, b"seven")], schema=LEDGER), path)
    (tmp_path / "ledger.json").write_text('{"num_parts": 2}')
    assert read_num_parts(tmp_path) == 2
    (part,) = list_parts(tmp_path)
    assert (part.number, part.num_parts, part.paths()) == (1, 2, [path])
    assert part.segments()[0].sha256 == hash_file(path)
    remove_leftovers(part.folder)
    assert path.exists()


def test_parts_of_version_0_1_are_taken_over_without_their_number(tmp_path: Path) -> None:
    for number, imdb_id in ((0, 2), (2, 1)):  # of four; ids that belong there
        rows = [make_row(imdb_id, b"one")]
        pq.write_table(pa.Table.from_pylist(rows, schema=LEDGER), tmp_path / f"part-{number:05d}.parquet")
    (tmp_path / "ledger.json").write_text("")
    assert read_num_parts(tmp_path) == 4
    assert dict(ledger.iterate_posters(tmp_path, {1, 2})) == {1: b"one", 2: b"one"}
