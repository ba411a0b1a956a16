"""Rows of the ledger."""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.posters.ledger import assign_part
from tasks.posters.segments import FAILED, OK, Part, write_num_parts

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def make_row(imdb_id: int, content: bytes | None, url: str = "http://x/1.jpg", **changes: Any) -> dict[str, Any]:
    """Returns the row of a poster, or of a failed one if it has no content."""
    return {
        "imdb_id": imdb_id,
        "url": url,
        "status": OK if content else FAILED,
        "reason": None if content else "http 404",
        "attempts": 1,
        "http_status": 200 if content else 404,
        "sha256": hashlib.sha256(content).hexdigest() if content else None,
        "num_bytes": len(content) if content else None,
        "seconds": 0.1,
        "fetched_at": NOW,
        "content": content,
        **changes,
    }


def write_ledger(posters_dir: Path, rows: Iterable[dict[str, Any]], num_parts: int = 1) -> None:
    """Writes rows to the segments of their parts, as downloads do."""
    write_num_parts(posters_dir, num_parts)
    rows = list(rows)
    for number in range(num_parts):
        part_rows = [row for row in rows if assign_part(row["imdb_id"], num_parts) == number]
        if part_rows:
            Part(posters_dir, number, num_parts).append(part_rows)
