import asyncio
import contextlib
import errno
import gzip
import http.server
import io
import threading
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tasks.web.addresses import AddressError
from tasks.web.client import Client, RequestError, copy_address

BODY = b"row\n" * 1000
LOOPBACK = ("127.0.0.1",)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.strip("/")
        headers: dict[str, str] = {"Content-Length": str(len(BODY))}
        body = BODY
        if path == "zipped":
            body = gzip.compress(BODY)
            headers = {"Content-Length": str(len(body)), "Content-Encoding": "gzip"}
        elif path == "cut":
            body = BODY[:1000]
        elif path == "unannounced":
            headers = {}
        elif path in ("chunked", "cutchunked"):
            headers = {"Transfer-Encoding": "chunked"}
            end = b"0\r\n\r\n" if path == "chunked" else b""
            body = b"%x\r\n%b\r\n" % (len(BODY), BODY) + end
        elif path == "loop" or path.startswith("to-"):
            location = "/loop" if path == "loop" else path.removeprefix("to-").replace("_", "/")
            headers, body = {"Location": location, "Content-Length": "0"}, b""
        self.send_response(int(path) if path.isdigit() else 302 if "Location" in headers else 200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)
        self.close_connection = path not in ("", "zipped", "chunked")


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def read(address: str, max_bytes: int = 100_000, private_hosts: tuple[str, ...] = LOOPBACK) -> bytes:
    file = io.BytesIO(b"what an earlier try left")
    copy_address(address, file, max_bytes=max_bytes, seconds=10, client=Client(1, 5, private_hosts))
    return file.getvalue()


@pytest.mark.parametrize("path", ["", "zipped", "chunked", "to-chunked"])
def test_whole_bodies(base_url: str, path: str) -> None:
    assert read(f"{base_url}/{path}") == BODY


@pytest.mark.parametrize(
    ("path", "reason", "is_transient"),
    [
        ("cut", "connection broken", True),
        ("cutchunked", "connection broken", True),
        ("unannounced", "no length announced", False),
        ("404", "http 404", False),
        ("503", "http 503", True),
        ("to-http:__127.0.0.2_x", "private address", False),
        ("to-file:___etc_passwd", "address not http(s)", False),
        ("loop", "too many redirects", False),
    ],
)
def test_bodies_that_are_refused(base_url: str, path: str, reason: str, is_transient: bool) -> None:
    with pytest.raises(RequestError) as raised:
        read(f"{base_url}/{path}")
    assert (raised.value.reason, raised.value.is_transient) == (reason, is_transient)


@pytest.mark.parametrize("path", ["", "zipped", "chunked"])
def test_a_body_has_a_maximum_size_unpacked(base_url: str, path: str) -> None:
    assert read(f"{base_url}/{path}", max_bytes=len(BODY)) == BODY
    with pytest.raises(RequestError, match="too large"):
        read(f"{base_url}/{path}", max_bytes=len(BODY) - 1)


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes all names resolve to given addresses, one after the other."""

    def set_results(*ips: str) -> None:
        found = iter(ips)

        async def resolve_name(_: object, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:
            ip = next(found)
            return [{"hostname": host, "host": ip, "port": port, "family": family, "proto": 0, "flags": 0}]

        monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", resolve_name)

    return set_results


@pytest.mark.parametrize("ip", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1"])
def test_a_name_of_a_private_address_is_not_connected_to(base_url: str, ip: str, resolve: Callable[..., None]) -> None:
    resolve(ip)
    with pytest.raises(RequestError, match="private address"):
        read(base_url.replace("127.0.0.1", "posters.example"))


def test_a_host_that_may_be_private(base_url: str, resolve: Callable[..., None]) -> None:
    resolve("127.0.0.1")
    address = base_url.replace("127.0.0.1", "posters.example")
    assert read(address, private_hosts=("Posters.Example",)) == BODY


def test_https_does_not_fall_to_http() -> None:
    client = Client(1, 5, LOOPBACK)
    follow = client._follow
    assert str(follow(URL("https://example.org/a/b"), "../c?d=1")) == "https://example.org/c?d=1"
    assert str(follow(URL("http://example.org/a"), "https://example.org/a")) == "https://example.org/a"
    with pytest.raises(RequestError, match="https to http"):
        follow(URL("https://example.org/a"), "http://example.org/a")
    with pytest.raises(AddressError, match="bad address"):
        follow(URL("https://example.org/a"), "http://[x")
    with pytest.raises(AddressError, match="address with credentials"):
        follow(URL("https://example.org/a"), "https://user:secret@example.org/a")


def test_too_many_open_files_is_an_error_of_this_machine(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise aiohttp.ClientOSError(errno.EMFILE, "Too many open files")

    async def get() -> None:
        async with Client(1, 5, LOOPBACK) as client, client.get(base_url):
            pass

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", fail)
    with pytest.raises(OSError, match="Too many open files"):
        asyncio.run(get())
