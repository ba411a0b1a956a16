"""The poster parts: Parquet files that hold the posters, and the fate of every one that was asked for."""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.atomic import atomic_file, write_text

OK, FAILED = "ok", "failed"

LEDGER = pa.schema(
    [
        pa.field("imdb_id", pa.int64(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # OK or FAILED
        pa.field("reason", pa.string()),  # why FAILED
        pa.field("attempts", pa.int16(), nullable=False),
        pa.field("http_status", pa.int16()),
        pa.field("sha256", pa.string()),  # of content, hexadecimal
        pa.field("num_bytes", pa.int32()),
        pa.field("format", pa.string()),  # jpeg or png
        pa.field("width", pa.int32()),  # pixels
        pa.field("height", pa.int32()),
        pa.field("etag", pa.string()),
        pa.field("last_modified", pa.string()),
        pa.field("seconds", pa.float32(), nullable=False),  # all tries together
        pa.field("fetched_at", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("content", pa.large_binary()),  # the poster as it came
    ]
)
_LIGHT_COLUMNS = [name for name in LEDGER.names if name != "content"]
# A reader holds one row group at a time: 128 posters are some megabytes.
ROWS_PER_GROUP = 128


def fix_num_parts(posters_dir: Path, num_films: int, posters_per_part: int) -> int:
    """Returns the number of parts of the ledger, which is chosen once: a poster stays in its part for good.

    Chosen, when the ledger is new, as the power of two that makes parts of about `posters_per_part`.
    """
    path = posters_dir / "ledger.json"
    if path.exists():
        return int(json.loads(path.read_text("utf-8"))["num_parts"])
    num_parts = 1
    while num_films > num_parts * posters_per_part * 1.5:
        num_parts *= 2
    write_text(path, json.dumps({"num_parts": num_parts}) + "\n")
    return num_parts


def part_of(imdb_id: int, num_parts: int) -> int:
    """Returns the part of a film, in [0, num_parts), from a hash of its id alone."""
    digest = hashlib.blake2b(str(imdb_id).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % num_parts


def part_path(posters_dir: Path, part: int) -> Path:
    """Returns where part number `part` is kept."""
    return posters_dir / f"part-{part:05d}.parquet"


def part_paths(posters_dir: Path) -> list[Path]:
    """Returns the parts there are, in order."""
    return sorted(posters_dir.glob("part-*.parquet"))


def split_into_parts(films: pa.Table, num_parts: int) -> list[list[dict[str, Any]]]:
    """Returns for each part its films, as dicts with `imdb_id` and `poster_url`, in the order of the catalog."""
    parts: list[list[dict[str, Any]]] = [[] for _ in range(num_parts)]
    for film in films.select(["imdb_id", "poster_url"]).to_pylist():
        parts[part_of(film["imdb_id"], num_parts)].append(film)
    return parts


def films_to_ask_for(
    films: Iterable[Mapping[str, Any]], ledger: pa.Table, *, retry_failed: bool, refresh: bool
) -> list[Mapping[str, Any]]:
    """Returns the films of a part that are not in its ledger under their present address, and more if told to.

    Args:
        films: with `imdb_id` and `poster_url`.
        ledger: the part, with at least `imdb_id`, `url` and `status`; to refresh also `sha256`, `etag` and
            `last_modified`, which the films of known posters then have, too.
        retry_failed: ask again for those that failed.
        refresh: ask for those that are there whether they have changed.
    """
    asked: list[Mapping[str, Any]] = []
    rows = {(row["imdb_id"], row["url"]): row for row in ledger.to_pylist()}
    for film in films:
        row = rows.get((film["imdb_id"], film["poster_url"]))
        if row is None or (row["status"] == FAILED and retry_failed):
            asked.append(film)
        elif row["status"] == OK and refresh:
            asked.append({**film, **{name: row[name] for name in ("sha256", "etag", "last_modified")}})
    return asked


def read_part(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Returns a part's rows; an empty table where the part is not there yet."""
    if not path.exists():
        return LEDGER.empty_table().select(list(columns or LEDGER.names))
    return pq.read_table(path, columns=list(columns) if columns else None)


def read_ledger(posters_dir: Path) -> pa.Table:
    """Returns all rows of all parts, without the posters themselves."""
    parts = [read_part(path, _LIGHT_COLUMNS) for path in part_paths(posters_dir)]
    return pa.concat_tables(parts) if parts else LEDGER.empty_table().select(_LIGHT_COLUMNS)


def iterate_posters(posters_dir: Path, imdb_ids: Collection[int]) -> Iterator[tuple[int, bytes]]:
    """Yields ids and posters of films, in the order of the parts; memory does not grow with their number."""
    for path in part_paths(posters_dir):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=ROWS_PER_GROUP, columns=["imdb_id", "content"]):
            wanted = batch.filter(
                pa.array([imdb_id in imdb_ids for imdb_id in batch["imdb_id"].to_pylist()], pa.bool_())
            )
            yield from zip(wanted["imdb_id"].to_pylist(), wanted["content"].to_pylist(), strict=True)


def update_part(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a part anew with `rows` added, each in place of the row of the same film if there is one.

    A poster that is there is not given up for a failure: when a film's address changed and nothing came from the new
    one, its row stays as it was, and is asked for again in the next run.

    Rows are kept in the order of their ids, so that the same posters make the same part whatever came first.
    """
    old = read_part(path)
    there = set(old.filter(pc.field("status") == OK)["imdb_id"].to_pylist())
    gained = [row for row in rows if row["status"] == OK or row["imdb_id"] not in there]
    new = pa.Table.from_pylist(gained, schema=LEDGER)
    replaced = set(new["imdb_id"].to_pylist())
    kept = old.filter(pa.array([imdb_id not in replaced for imdb_id in old["imdb_id"].to_pylist()], pa.bool_()))
    table = pa.concat_tables([kept, new]).sort_by("imdb_id")
    with atomic_file(path) as partial:
        # Posters are compressed already.
        pq.write_table(table, partial, row_group_size=ROWS_PER_GROUP, compression="none", use_dictionary=False)
