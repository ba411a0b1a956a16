"""Read random catalogs for a while: `python tests/fuzz/fuzz_catalog.py --seconds 600 --seed 0`.

Four kinds of files, in turns: tables that Python's csv module wrote, which must be read as they are; such tables with a
fault (bytes removed, inserted or replaced, cut short, another encoding), random bytes, and random bytes behind a
header, each of which must be a table or an error of one line. The pass that counts the records is compared with a
second, plain one, and with the parser, and does so for chunks of a few bytes. The first disagreement ends the program
with the bytes that led to it.
"""

import argparse
import csv
import io
import random
import re
import tempfile
import time
from collections import Counter
from pathlib import Path

from tasks.catalog import reading, records
from tasks.catalog.reading import COLUMNS, read_rows
from tasks.errors import CatalogError

HEADER = (",".join(COLUMNS) + "\n").encode()
# Of a time limit for one file, so that a pass with quadratic time is found; all files are under a megabyte.
MAX_SECONDS = 30
DIALECTS = [(csv.QUOTE_ALL, "\n"), (csv.QUOTE_ALL, "\r\n"), (csv.QUOTE_ALL, "\r"), (csv.QUOTE_MINIMAL, "\r\n")]
SIZES = [*[5, 20, 50, 500] * 25, 100_000]
ALPHABETS = ['ab",\n\r', 'a"\n', "a,\r\n ", "aé愛\t;'\"", "1,"]


def write_table(rng: random.Random) -> tuple[list[list[str]], bytes]:
    """Returns the rows of a random table without its header, and the table as Python writes it."""
    alphabet = rng.choice(ALPHABETS)
    longest = rng.choice([1, 3, 10, 10, 10, 5000])
    rows = [
        ["".join(rng.choices(alphabet, k=rng.randint(0, longest))) for _ in COLUMNS]
        for _ in range(rng.choice([0, 1, 3, 20]))
    ]
    text = io.StringIO()
    quoting, line_end = rng.choice(DIALECTS)
    csv.writer(text, quoting=quoting, lineterminator=line_end).writerows([COLUMNS, *rows])
    return rows, text.getvalue().encode(rng.choice(["utf-8", "utf-8-sig"]))


def write_films(rng: random.Random) -> tuple[int, bytes]:
    """Returns the number of rows of a table like the published one, and the table, with a stray quote in some row."""
    titles = ["Film (1999)", '"Die Größe, (2001)"', '"The ""Great"" One"', '"Two\nlines"', 'A 6" Gun', "Amélie"]
    rows = [
        f"{number},l,{rng.choice(titles)},6.5,Drama,http://x/{number}.jpg\n" for number in range(rng.randint(1, 60))
    ]
    stray = rng.randrange(len(rows))
    rows[stray] = rows[stray].replace(",l,", rng.choice([',l,"', ',"l,', ',l",']))
    return len(rows), HEADER + "".join(rows).encode(rng.choice(["utf-8", "iso-8859-1"]))


def damage(content: bytes, rng: random.Random) -> bytes:
    """Returns a file with some faults."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        position = rng.randint(0, len(changed))
        kind = rng.randrange(4)
        if kind == 0:
            changed = changed[:position]
        elif kind == 1:
            del changed[position : position + rng.randint(1, 5)]
        else:
            noise = bytes(rng.choice(b'",\n\r"\xe9\xc3\xa9a\x00') for _ in range(rng.randint(1, 3)))
            changed[position : position + (kind - 2) * len(noise)] = noise
    return bytes(changed)


def list_records(content: bytes, start: int) -> list[int] | None:
    """Returns the number of fields of each record, byte by byte; None if the file ends within a quoted field."""
    field = re.compile(rb'"(?:[^"]|"")*(?P<close>"?)[^,\r\n]*|[^,\r\n]*')
    found, num_fields, position, record_start = [], 0, start, start
    while position < len(content):
        match = field.match(content, position)
        assert match is not None
        if match["close"] == b"":
            return None
        position, num_fields = match.end(), num_fields + 1
        separator = content[position : position + 1]
        if separator != b",":
            if position > record_start:
                found.append(num_fields)
            position += 2 if content[position : position + 2] == b"\r\n" else 1
            num_fields, record_start = 0, position
        else:
            position += 1
            if position == len(content):
                found.append(num_fields + 1)
    return found


def check_counts(content: bytes, chunk_bytes: int) -> None:
    """Compares the fast pass over the records with the plain one."""
    start = records.find_header_end(content)
    if start is None:
        return
    expected = list_records(content, start)
    records._CHUNK_BYTES = chunk_bytes
    problem = ""
    try:
        found = records.scan_records(content, start, {}, len(COLUMNS), "films.csv")
        assert expected is not None, found
        numbers = (len(expected), sum(number != len(COLUMNS) for number in expected))
        assert (found.number, found.num_malformed) == numbers, (found, numbers)
    except CatalogError as error:
        problem = str(error)
    finally:
        records._CHUNK_BYTES = 1 << 20
    if problem:
        assert "unbalanced quote" in problem or (expected is not None and "the file ends within" in problem), problem


def read(path: Path, content: bytes) -> reading.Rows | None:
    """Reads a catalog from a file; None if it is refused in one line."""
    path.write_bytes(content)
    start = time.monotonic()
    problem = None
    try:
        rows = read_rows(str(path))
    except CatalogError as error:
        problem = str(error)
    assert time.monotonic() - start < MAX_SECONDS
    if problem is not None:
        assert len(problem.splitlines()) == 1, problem
        return None
    assert rows.table.num_rows + rows.num_malformed == rows.number, rows
    return rows


def run_one(rng: random.Random, path: Path) -> tuple[str, bytes]:
    """Makes, reads and checks one file; returns what became of it, and its content."""
    kind = rng.choice(["table", "damaged", "stray quote", "bytes", "body"])
    rows: list[list[str]] = []
    num_films = 0
    if kind in ("table", "damaged"):
        rows, content = write_table(rng)
        content = damage(content, rng) if kind == "damaged" else content
    elif kind == "stray quote":
        num_films, content = write_films(rng)
    else:
        noise = bytes(rng.choices(rng.choice([b'",\n\ra', b'"\n', bytes(range(256))]), k=rng.choice(SIZES)))
        content = HEADER * (kind == "body") + noise
    try:
        found = read(path, content)
        if kind == "table":
            assert found is not None
            assert [list(row.values()) for row in found.table.to_pylist()] == rows
        # A title of two lines may become two rows, but none is swallowed.
        assert found is None or found.number >= num_films, found
        check_counts(content, rng.choice([1, 2, 3, 7, 64]) if len(content) < 5000 else 4096)
    except Exception as error:
        # Any other exception than a CatalogError is what this program is for.
        raise SystemExit(f"{kind}: {type(error).__name__}: {error}\n{content[:2000]!r}") from error
    return f"{kind}: {'refused' if found is None else 'read'}", content


def main() -> None:
    """Reads random catalogs until the time is over, and prints how many."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    outcomes: Counter[str] = Counter()
    longest = 0.0
    end = time.monotonic() + arguments.seconds
    with tempfile.TemporaryDirectory() as folder:
        while (start := time.monotonic()) < end:
            outcome, _ = run_one(rng, Path(folder) / "MovieGenre.csv")
            outcomes[outcome] += 1
            longest = max(longest, time.monotonic() - start)
    print(f"catalog: {outcomes.total():,} files, the longest took {longest:.2f} s; {dict(sorted(outcomes.items()))}")


if __name__ == "__main__":
    main()
