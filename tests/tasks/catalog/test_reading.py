import codecs
import contextlib
import csv
import http.server
import io
import mmap
import resource
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import fsspec
import pyarrow as pa
import pyarrow.csv
import pytest
import s3fs
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import known_implementations
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.catalog import content, records
from tasks.catalog.reading import COLUMNS, is_address, read_rows
from tasks.errors import CatalogError
from tasks.sample.server import serve

HEADER = "imdbId,Imdb Link,Title,IMDB Score,Genre,Poster\n"
ROW = '1,http://x/tt1,"Götz, ""der"" (1955)",6.5,Drama|War,http://x/1.jpg\n'


@pytest.fixture
def write(tmp_path: Path) -> Iterator[object]:
    def write_bytes(content: bytes) -> str:
        path = tmp_path / "MovieGenre.csv"
        path.write_bytes(content)
        return str(path)

    return write_bytes


@pytest.mark.parametrize(
    "content",
    [
        (HEADER + ROW).encode("iso-8859-1"),
        (HEADER + ROW).encode("utf-8"),
        codecs.BOM_UTF8 + (HEADER + ROW).encode("utf-8"),
        (HEADER + ROW).replace("\n", "\r\n").encode("iso-8859-1"),
    ],
    ids=["latin-1", "utf-8", "utf-8 with BOM", "CRLF"],
)
def test_encodings(write, content: bytes) -> None:
    rows = read_rows(write(content))
    assert (rows.number, rows.num_malformed) == (1, 0)
    assert rows.table.to_pylist() == [
        {
            "imdbId": "1",
            "Imdb Link": "http://x/tt1",
            "Title": 'Götz, "der" (1955)',
            "IMDB Score": "6.5",
            "Genre": "Drama|War",
            "Poster": "http://x/1.jpg",
        }
    ]


def test_columns_in_another_order_and_more_of_them(write) -> None:
    rows = read_rows(write(b"Poster,Genre,Extra,IMDB Score,Title,Imdb Link,imdbId\np,g,e,s,t,l,007\n")).table
    assert rows.column_names == list(COLUMNS)
    assert rows["imdbId"].to_pylist() == ["007"]


def test_spaces_and_quotes_around_the_names(write) -> None:
    rows = read_rows(write(b'imdbId, Imdb Link , "Title", IMDB Score, Genre, Poster\n7,l,t,s,g,p\n')).table
    assert rows.to_pylist() == [dict(zip(COLUMNS, ["7", "l", "t", "s", "g", "p"], strict=True))]


def test_rows_of_another_length_are_counted(write) -> None:
    rows = read_rows(write((HEADER + ROW + "2,too,short\n\n" + ROW + "3,has,one,field,too,many,x\n" + ROW).encode()))
    assert (rows.table.num_rows, rows.number, rows.num_malformed, rows.malformed_lines) == (3, 5, 2, (3, 6))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"  \n\n", "is empty"),
        (b"imdbId,Title,Genre\n1,a,b\n", "lacks the columns Imdb Link, IMDB Score, Poster.*found 'imdbId,Title,Genre'"),
        (f"Title,{HEADER}".encode(), "has several columns Title: expected each once"),
        (b"<html><body>Sign in</body></html>", "lacks the columns imdbId"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "is no CSV"),
    ],
)
def test_files_that_are_no_catalog(write, content: bytes, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        read_rows(write(content))


def test_header_alone_is_no_error(write) -> None:
    assert read_rows(write(HEADER.encode())).number == 0


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"none\.csv can't be read: No such file"):
        read_rows(str(tmp_path / "none.csv"))


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="Is a directory"):
        read_rows(str(tmp_path))


def test_http_address(tmp_path: Path) -> None:
    (tmp_path / "films.csv").write_bytes((HEADER + ROW).encode("iso-8859-1"))
    with serve(tmp_path) as base_url:
        assert read_rows(f"{base_url}/films.csv", private_hosts=["127.0.0.1"]).number == 1
        with pytest.raises(CatalogError, match="404"):
            read_rows(f"{base_url}/none.csv", private_hosts=["127.0.0.1"])
        with pytest.raises(CatalogError, match=r"private address; name its host in posters\.allow_private_hosts"):
            read_rows(f"{base_url}/films.csv")


def test_http_request_is_repeated_when_the_server_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = []

    class Busy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            body = (HEADER + ROW).encode()
            self.send_response(503 if len(requests) == 1 else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        rows = read_rows(f"http://127.0.0.1:{server.server_port}/films.csv", private_hosts=["127.0.0.1"])
        server.shutdown()
    assert rows.number == 1
    assert len(requests) == 2


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("s3://bucket/MovieGenre.csv", True),
        ("HTTPS://host/MovieGenre.csv", True),
        ("zip://MovieGenre.csv::s3://bucket/films.zip", True),
        ("MovieGenre.csv", False),
        ("/films://MovieGenre.csv", False),
        ("://MovieGenre.csv", False),
        ("", False),
    ],
)
def test_is_address(source: str, expected: bool) -> None:
    assert is_address(source) == expected


def test_fsspec_address() -> None:
    with fsspec.open("memory://catalogs/films.csv", "wb") as file:
        file.write((HEADER + ROW).encode("iso-8859-1"))
    rows = read_rows("memory://catalogs/films.csv")
    assert (rows.table["Title"].to_pylist(), rows.num_malformed) == (['Götz, "der" (1955)'], 0)


def test_s3_address(s3: str) -> None:
    boto3.client("s3").put_object(Bucket="posters", Key="genres/films.csv", Body=(HEADER + ROW).encode())
    assert read_rows(f"{s3}/films.csv").number == 1
    with pytest.raises(CatalogError, match=r"^s3://.*/none\.csv can't be read: no such file"):
        read_rows(f"{s3}/none.csv")
    with pytest.raises(CatalogError, match=r"s3://nobucket/films\.csv can't be read: no such file"):
        read_rows("s3://nobucket/films.csv")


def test_s3_without_credentials(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(CatalogError, match=r"films\.csv can't be read: Unable to locate credentials"):
        read_rows(f"{s3}/films.csv")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("memory://catalogs/none.csv", "no such file"),
        ("zip://films.csv::memory://none.zip", "no such file"),
        ("nonsense://films.csv", "Protocol not known: nonsense"),
        ("nopackage://films.csv", "Install nopackage to read it"),
        ("github://films.csv", "missing 2 required positional arguments"),
    ],
)
def test_fsspec_addresses_that_can_not_be_read(source: str, message: str) -> None:
    missing = {"class": "nopackage.NoPackageFileSystem", "err": "Install nopackage to read it"}
    with (
        mock.patch.dict(known_implementations, nopackage=missing),
        pytest.raises(CatalogError) as raised,
    ):
        read_rows(source)
    assert str(raised.value).startswith(f"{source} can't be read: ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_fsspec_folder(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="Is a directory"):
        read_rows(f"file://{tmp_path}")


def test_a_file_over_the_limit_is_not_read(write) -> None:
    content = (HEADER + ROW).encode()
    source = write(content)
    assert read_rows(source, max_bytes=len(content)).number == 1
    with pytest.raises(CatalogError, match=rf"csv is larger than {len(content) - 1} bytes: .*catalog\.max_bytes"):
        read_rows(source, max_bytes=len(content) - 1)


def test_a_device_without_end_is_read_up_to_the_limit() -> None:
    with pytest.raises(CatalogError, match="/dev/zero is larger than 5,000,000 bytes"):
        read_rows("/dev/zero", max_bytes=5_000_000)


def test_an_object_over_the_limit_is_not_read(s3: str) -> None:
    content = (HEADER + ROW).encode()
    boto3.client("s3").put_object(Bucket="posters", Key="genres/large.csv", Body=content)
    with pytest.raises(CatalogError, match=r"^s3://.*/large\.csv is larger than 100 bytes"):
        read_rows(f"{s3}/large.csv", max_bytes=100)
    assert read_rows(f"{s3}/large.csv", max_bytes=len(content)).number == 1


class OddSizes(MemoryFileSystem):
    """States sizes as a server may: none for some files, a wrong one for others."""

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        known = super().info(path, **kwargs)
        return {**known, "size": None if path.endswith("unknown.csv") else known["size"] + 1}


@pytest.fixture
def odd_sizes() -> Iterator[None]:
    fsspec.register_implementation("memory", OddSizes, clobber=True)
    yield
    fsspec.register_implementation("memory", MemoryFileSystem, clobber=True)


@pytest.mark.usefixtures("odd_sizes")
def test_objects_whose_size_is_unknown_or_wrong() -> None:
    content = (HEADER + ROW).encode()
    for name in ("unknown", "wrong"):
        fsspec.filesystem("memory").pipe_file(f"/{name}.csv", content)
    assert read_rows("memory://unknown.csv", max_bytes=len(content)).number == 1
    with pytest.raises(CatalogError, match="memory://unknown.csv is larger than 100 bytes"):
        read_rows("memory://unknown.csv", max_bytes=100)
    with pytest.raises(CatalogError, match=f"was cut short: {len(content)} bytes of {len(content) + 1} were received"):
        read_rows("memory://wrong.csv")


def test_rows_longer_than_a_block_of_the_parser(write) -> None:
    title = "ab, " * 1_500_000
    row = f'2,l,"{title}",6.5,Drama,p\n'
    table = read_rows(write((HEADER + ROW + row + ROW).encode())).table
    assert [len(text) for text in table["Title"].to_pylist()] == [18, 6_000_000, 18]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_quoted_line_ends(write, line_end: str) -> None:
    lines = [
        'imdbId,Imdb Link,Title,IMDB Score,Genre,Poster,"Note',
        's"',
        '1,l,"One, a,',
        "b, c",
        '(1999)",6,g,p,',
        '2,l,Two,6,g,p,"x',
        '"',
    ]
    rows = read_rows(write("".join(line + line_end for line in lines).encode()), optional=[f"Note{line_end}s"])
    assert rows.table["Title"].to_pylist() == [f"One, a,{line_end}b, c{line_end}(1999)", "Two"]
    assert (rows.number, rows.num_malformed) == (2, 0)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ('"imdbId,Poster\n1,p\n', "row 1: the header has no end, or has an unbalanced quote; expected imdbId, Poster"),
        ("imdbId,Poster" + "," * 70_000 + "\n", "row 1: the header has no end"),
    ],
)
def test_headers_that_do_not_end(write, header: str, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        read_rows(write(header.encode()), ["imdbId", "Poster"])


def test_a_parser_that_loses_rows_is_noticed(write, monkeypatch: pytest.MonkeyPatch) -> None:
    read_csv = pyarrow.csv.read_csv
    monkeypatch.setattr(pyarrow.csv, "read_csv", lambda *args, **kwargs: read_csv(*args, **kwargs).slice(1))
    with pytest.raises(RuntimeError, match="has 2 rows, 0 of them malformed, of which 1 were read and 0 skipped"):
        read_rows(write((HEADER + ROW + ROW).encode()))


# Python 3.11 quotes only the characters of its own line end where it quotes what must be.
DIALECTS = [(csv.QUOTE_ALL, "\n"), (csv.QUOTE_ALL, "\r\n"), (csv.QUOTE_ALL, "\r"), (csv.QUOTE_MINIMAL, "\r\n")]
# Any text but what a row of a catalog has by itself, which a quoted field may not take in.
CELLS = st.text(st.sampled_from("abé\"',;\n\r\t ß") | st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.lists(CELLS, min_size=len(COLUMNS) + 1, max_size=len(COLUMNS) + 1)),
    dialect=st.sampled_from(DIALECTS),
    encoding=st.sampled_from(["utf-8", "utf-8-sig"]),
)
def test_tables_that_python_wrote(write, rows: list[list[str]], dialect: tuple[int, str], encoding: str) -> None:
    text = io.StringIO()
    quoting, line_end = dialect
    csv.writer(text, quoting=quoting, lineterminator=line_end).writerows([[*COLUMNS, "Extra"], *rows])
    read = read_rows(write(text.getvalue().encode(encoding)))
    assert (read.number, read.num_malformed) == (len(rows), 0)
    assert list(zip(*read.table.to_pydict().values(), strict=True)) == [tuple(row[:-1]) for row in rows]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    header=st.sampled_from([b"", b"Poster\n", b"Poster,a\r", b'"Poster",imdbId\r\n', b"Poster"]),
    content=st.lists(st.sampled_from([*b',"\n\ra1\xe9\xc3']) | st.integers(0, 255)).map(bytes),
)
def test_any_bytes_are_a_table_or_an_error(write, header: bytes, content: bytes) -> None:
    message = ""
    try:
        rows = read_rows(write(header + content), ["Poster"], ["imdbId"])
        assert rows.table.num_rows + rows.num_malformed == rows.number
    except CatalogError as error:
        message = str(error)
    assert len(message.splitlines()) < 2, message


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "iso-8859-1"])
def test_a_large_catalog_is_a_mapped_file_and_read_some_rows_at_a_time(
    write, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    source = write((HEADER + (ROW + "\n\n2,too,short\n" + ROW.replace("Götz", "Zwei\nZeilen")) * 50).encode(encoding))
    whole = read_rows(source)
    for module, name, value in [
        (content, "_MAX_BYTES_IN_MEMORY", 1000),
        (content, "_CHUNK_BYTES", 64),
        (records, "_CHUNK_BYTES", 64),
        (records, "_WINDOW_BYTES", 500),
    ]:
        monkeypatch.setattr(module, name, value)
    rows = read_rows(source)
    assert isinstance(rows._content, mmap.mmap)
    assert (rows.number, rows.num_malformed, rows.malformed_lines) == (150, 50, whole.malformed_lines)
    assert rows.sha256 == whole.sha256
    for _ in range(2):
        tables = list(rows.iterate_tables())
        assert len(tables) > 10
        assert pa.concat_tables(tables).equals(whole.table)


def test_a_large_catalog_that_mixes_encodings_is_refused(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "_MAX_BYTES_IN_MEMORY", 1000)
    with pytest.raises(CatalogError, match=r"0xf6, in row 102; 100 characters are, the first, ö, in row 2;"):
        read_rows(write((HEADER + ROW * 100).encode() + ROW.encode("iso-8859-1")))


@pytest.mark.real_posters
def test_real_catalog(real_posters: Path) -> None:
    rows = read_rows(str(real_posters / "MovieGenre.csv"))
    assert (rows.table.num_rows, rows.number, rows.num_malformed) == (8110, 8110, 0)
    assert "Götz von Berlichingen (2014)" in rows.table["Title"].to_pylist()


@pytest.mark.parametrize("by", ["path", "http", "object"])
def test_a_full_disk_here_is_no_error_of_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    path, file_size_limit = tmp_path / "films.csv", 1_000_000
    path.write_bytes((HEADER + ROW * (2 * file_size_limit // len(ROW))).encode())
    monkeypatch.setattr(content, "_MAX_BYTES_IN_MEMORY", 1000)
    with serve(tmp_path, 0) as base_url, limited_file_size(file_size_limit):
        source = {"path": str(path), "http": f"{base_url}/films.csv", "object": f"file://{path}"}[by]
        with pytest.raises(CatalogError) as raised:
            read_rows(source, private_hosts=["127.0.0.1"])
    folder = tempfile.gettempdir()
    assert str(raised.value).startswith(f"the catalog can't be copied: {folder}: file too large: the limit of a file's")
    assert raised.value.exit_code == 1


@contextlib.contextmanager
def limited_file_size(num_bytes: int) -> Iterator[None]:
    """Limits the size of the files that this process writes: as a full disk, but for the number of the error."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
