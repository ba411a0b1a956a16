import codecs
import re

import pytest

from tasks.catalog import content as content_module
from tasks.catalog.encoding import as_utf8
from tasks.errors import CatalogError

HEADER = b"imdbId,Title\n"


def rows(*titles: bytes) -> bytes:
    return HEADER + b"".join(b"%d,%s\n" % (number, title) for number, title in enumerate(titles, start=1))


@pytest.mark.parametrize("chunk_bytes", [4, 5, 1 << 20])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (rows(b"Amelie"), "Amelie"),
        (rows("Amélie, 愛 🎬".encode()), "Amélie, 愛 🎬"),
        (codecs.BOM_UTF8 + rows("Amélie".encode()), "Amélie"),
        (rows("Amélie ÷ Götz".encode("iso-8859-1")), "Amélie ÷ Götz"),
        # One sequence that happens to be UTF-8 among 200 characters that are not.
        (rows(*["é è".encode("iso-8859-1")] * 100, "Spaß»".encode("iso-8859-1")), "Spaß»"),
    ],
)
def test_whole_files(monkeypatch: pytest.MonkeyPatch, chunk_bytes: int, content: bytes, expected: str) -> None:
    monkeypatch.setattr(content_module, "_CHUNK_BYTES", chunk_bytes)
    text = as_utf8(content, "films.csv").decode("utf-8")
    assert text.splitlines()[0] == "imdbId,Title"
    assert text.splitlines()[-1].split(",", 1)[1] == expected


@pytest.mark.parametrize("chunk_bytes", [4, 5, 1 << 20])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            rows(*["Amélie".encode()] * 10, b"Am\xe9lie"),
            "films.csv mixes encodings: 1 bytes are not UTF-8, the first, 0xe9, in row 12; "
            "10 characters are, the first, é, in row 2",
        ),
        (
            rows(b"a", *[b"\xe9\xe8"] * 100, *["愛".encode()] * 5),
            "films.csv mixes encodings: 200 bytes are not UTF-8, the first, 0xe9, in row 3; "
            "5 characters are, the first, 愛, in row 103",
        ),
        # A file that was cut within a character.
        (rows("Amélie".encode())[:-1] + b"\xc3", "1 bytes are not UTF-8, the first, 0xc3, in row 2"),
        (
            codecs.BOM_UTF8 + rows(b"a", b"Am\xe9lie"),
            "films.csv starts with UTF-8's byte-order mark, and has 1 bytes that are not UTF-8, the first, 0xe9, in "
            "row 3",
        ),
    ],
)
def test_mixed_encodings_are_refused(
    monkeypatch: pytest.MonkeyPatch, chunk_bytes: int, content: bytes, message: str
) -> None:
    monkeypatch.setattr(content_module, "_CHUNK_BYTES", chunk_bytes)
    with pytest.raises(CatalogError, match=re.escape(message)):
        as_utf8(content, "films.csv")
