import codecs
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import boto3
import fsspec
import pytest
import s3fs
from fsspec.registry import known_implementations

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
    rows, malformed = read_rows(write(content))
    assert malformed == 0
    assert rows.to_pylist() == [
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
    rows, _ = read_rows(write(b"Poster,Genre,Extra,IMDB Score,Title,Imdb Link,imdbId\np,g,e,s,t,l,007\n"))
    assert rows.column_names == list(COLUMNS)
    assert rows["imdbId"].to_pylist() == ["007"]


def test_spaces_and_quotes_around_the_names(write) -> None:
    rows, _ = read_rows(write(b'imdbId, Imdb Link , "Title", IMDB Score, Genre, Poster\n7,l,t,s,g,p\n'))
    assert rows.to_pylist() == [dict(zip(COLUMNS, ["7", "l", "t", "s", "g", "p"], strict=True))]


def test_rows_of_another_length_are_counted(write) -> None:
    rows, malformed = read_rows(write((HEADER + ROW + "2,too,short\n" + ROW).encode()))
    assert (rows.num_rows, malformed) == (2, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"  \n\n", "is empty"),
        (b"imdbId,Title,Genre\n1,a,b\n", "lacks the columns Imdb Link, IMDB Score, Poster.*found 'imdbId,Title,Genre'"),
        (b"<html><body>Sign in</body></html>", "lacks the columns imdbId"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "is no CSV"),
    ],
)
def test_files_that_are_no_catalog(write, content: bytes, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        read_rows(write(content))


def test_header_alone_is_no_error(write) -> None:
    assert read_rows(write(HEADER.encode()))[0].num_rows == 0


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"none\.csv: No such file"):
        read_rows(str(tmp_path / "none.csv"))


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="Is a directory"):
        read_rows(str(tmp_path))


def test_http_address(tmp_path: Path) -> None:
    (tmp_path / "films.csv").write_bytes((HEADER + ROW).encode("iso-8859-1"))
    with serve(tmp_path) as base_url:
        assert read_rows(f"{base_url}/films.csv", private_hosts=["127.0.0.1"])[0].num_rows == 1
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
        rows, _ = read_rows(f"http://127.0.0.1:{server.server_port}/films.csv", private_hosts=["127.0.0.1"])
        server.shutdown()
    assert rows.num_rows == 1
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
    rows, malformed = read_rows("memory://catalogs/films.csv")
    assert (rows["Title"].to_pylist(), malformed) == (['Götz, "der" (1955)'], 0)


def test_s3_address(s3: str) -> None:
    boto3.client("s3").put_object(Bucket="posters", Key="genres/films.csv", Body=(HEADER + ROW).encode())
    assert read_rows(f"{s3}/films.csv")[0].num_rows == 1
    with pytest.raises(CatalogError, match=r"^the catalog can't be read from s3://.*/none\.csv: no such file"):
        read_rows(f"{s3}/none.csv")
    with pytest.raises(CatalogError, match=r"s3://nobucket/films\.csv: no such file"):
        read_rows("s3://nobucket/films.csv")


def test_s3_without_credentials(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(CatalogError, match=r"films\.csv: Unable to locate credentials"):
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
    assert str(raised.value).startswith(f"the catalog can't be read from {source}: ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_fsspec_folder(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="Is a directory"):
        read_rows(f"file://{tmp_path}")


@pytest.mark.real_posters
def test_real_catalog(real_posters: Path) -> None:
    rows, malformed = read_rows(str(real_posters / "MovieGenre.csv"))
    assert (rows.num_rows, malformed) == (8110, 0)
    assert "Götz von Berlichingen (2014)" in rows["Title"].to_pylist()
