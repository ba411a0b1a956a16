"""The poster parts: Parquet files with the posters, and a row for every requested poster, failed ones included."""

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
        pa.field("reason", pa.string()),  # reason of the failure
        pa.field("attempts", pa.int16(), nullable=False),
        pa.field("http_status", pa.int16()),
        pa.field("sha256", pa.string()),  # of content, hexadecimal
        pa.field("num_bytes", pa.int32()),
        pa.field("format", pa.string()),  # jpeg or png
        pa.field("width", pa.int32()),  # pixels
        pa.field("height", pa.int32()),
        pa.field("etag", pa.string()),
        pa.field("last_modified", pa.string()),
        pa.field("seconds", pa.float32(), nullable=False),  # of all attempts
        pa.field("fetched_at", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("content", pa.large_binary()),  # image bytes as received
    ]
)
_LIGHT_COLUMNS = [name for name in LEDGER.names if name != "content"]
# A reader holds one row group at a time: 128 posters are some megabytes.
ROWS_PER_GROUP = 128


def fix_num_parts(posters_dir: Path, num_films: int, posters_per_part: int) -> int:
    """Returns the number of parts of the ledger. It never changes, so that a poster stays in its part.

    For a new ledger it is the power of two that results in parts of about `posters_per_part`.

    Args:
        posters_dir: Folder of the parts.
        num_films: Number of films in the catalog.
        posters_per_part: Number of posters in a part, approximately.
    """
    path = posters_dir / "ledger.json"
    if path.exists():
        return int(json.loads(path.read_text("utf-8"))["num_parts"])
    num_parts = 1
    while num_films > num_parts * posters_per_part * 1.5:
        num_parts *= 2
    write_text(path, json.dumps({"num_parts": num_parts}) + "\n")
    return num_parts


def assign_part(imdb_id: int, num_parts: int) -> int:
    """Returns the number of a film's part, in [0, num_parts); it depends on a hash of the id only."""
    digest = hashlib.blake2b(str(imdb_id).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % num_parts


def part_path(posters_dir: Path, part: int) -> Path:
    """Returns the path of part number `part`."""
    return posters_dir / f"part-{part:05d}.parquet"


def part_paths(posters_dir: Path) -> list[Path]:
    """Returns the paths of the existing parts, in order."""
    return sorted(posters_dir.glob("part-*.parquet"))


def split_into_parts(films: pa.Table, num_parts: int) -> list[list[dict[str, Any]]]:
    """Returns the films of each part, as dicts with `imdb_id` and `poster_url`, in the order of the catalog."""
    parts: list[list[dict[str, Any]]] = [[] for _ in range(num_parts)]
    for film in films.select(["imdb_id", "poster_url"]).to_pylist():
        parts[assign_part(film["imdb_id"], num_parts)].append(film)
    return parts


def select_films(
    films: Iterable[Mapping[str, Any]], ledger: pa.Table, *, retry_failed: bool, refresh: bool
) -> list[Mapping[str, Any]]:
    """Returns the films of a part whose posters are to be downloaded: those without a row for their present address.

    Args:
        films: Films of the part, with `imdb_id` and `poster_url`.
        ledger: Rows of the part, with at least `imdb_id`, `url` and `status`; with `refresh` also `sha256`, `etag` and
            `last_modified`, which are then added to the films that have a poster.
        retry_failed: Whether films whose download failed are selected, too.
        refresh: Whether films that have a poster are selected, too.
    """
    selected: list[Mapping[str, Any]] = []
    rows = {(row["imdb_id"], row["url"]): row for row in ledger.to_pylist()}
    for film in films:
        row = rows.get((film["imdb_id"], film["poster_url"]))
        if row is None or (row["status"] == FAILED and retry_failed):
            selected.append(film)
        elif row["status"] == OK and refresh:
            selected.append({**film, **{name: row[name] for name in ("sha256", "etag", "last_modified")}})
    return selected


def read_part(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Returns a part's rows, schema `LEDGER`; an empty table if the part doesn't exist."""
    if not path.exists():
        return LEDGER.empty_table().select(list(columns or LEDGER.names))
    return pq.read_table(path, columns=list(columns) if columns else None)


def read_ledger(posters_dir: Path) -> pa.Table:
    """Returns the rows of all parts, without `content`."""
    parts = [read_part(path, _LIGHT_COLUMNS) for path in part_paths(posters_dir)]
    return pa.concat_tables(parts) if parts else LEDGER.empty_table().select(_LIGHT_COLUMNS)


def iterate_posters(posters_dir: Path, imdb_ids: Collection[int]) -> Iterator[tuple[int, bytes]]:
    """Yields ids and image bytes of films, in the order of the parts; one row group is in memory at a time."""
    for path in part_paths(posters_dir):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=ROWS_PER_GROUP, columns=["imdb_id", "content"]):
            wanted = batch.filter(
                pa.array([imdb_id in imdb_ids for imdb_id in batch["imdb_id"].to_pylist()], pa.bool_())
            )
            yield from zip(wanted["imdb_id"].to_pylist(), wanted["content"].to_pylist(), strict=True)


def update_part(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rewrites a part with `rows` added; a row replaces that of the same film.

    A failure doesn't replace a poster: if the download from a film's new address fails, the row with the old address
    stays, and the next run repeats the download.

    Rows are sorted by id, so that the part's bytes don't depend on the order of the downloads.

    Args:
        path: Path of the part.
        rows: New rows, as in `LEDGER`.
    """
    old = read_part(path)
    available = set(old.filter(pc.field("status") == OK)["imdb_id"].to_pylist())
    accepted = [row for row in rows if row["status"] == OK or row["imdb_id"] not in available]
    new = pa.Table.from_pylist(accepted, schema=LEDGER)
    replaced = set(new["imdb_id"].to_pylist())
    kept = old.filter(pa.array([imdb_id not in replaced for imdb_id in old["imdb_id"].to_pylist()], pa.bool_()))
    table = pa.concat_tables([kept, new]).sort_by("imdb_id")
    with atomic_file(path) as partial:
        # Posters are compressed already.
        pq.write_table(table, partial, row_group_size=ROWS_PER_GROUP, compression="none", use_dictionary=False)


def mark_undecodable(posters_dir: Path, hashes: Collection[str]) -> None:
    """Sets the rows of images that can't be decoded to failed, with the reason `not decodable`.

    Args:
        posters_dir: Folder of the parts.
        hashes: Hashes of the images.
    """
    of_image = ["sha256", "num_bytes", "format", "width", "height", "etag", "last_modified", "content"]
    for path in part_paths(posters_dir):
        table = pq.read_table(path)
        if not pc.any(pc.is_in(table["sha256"], pa.array(hashes, pa.string()))).as_py():
            continue
        failed = {"status": FAILED, "reason": "not decodable", **dict.fromkeys(of_image)}
        rows = [{**row, **failed} if row["sha256"] in hashes else row for row in table.to_pylist()]
        with atomic_file(path) as partial:
            table = pa.Table.from_pylist(rows, schema=LEDGER)
            pq.write_table(table, partial, row_group_size=ROWS_PER_GROUP, compression="none", use_dictionary=False)
