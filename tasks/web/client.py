"""An HTTP client for other people's servers: only public addresses, at each redirect, and proxies as requests has them.

With aiohttp: its deadline applies to a whole exchange, however slowly a server sends, for which requests has no
setting; and one process downloads several times as many posters as with threads, which block each other.
"""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from types import TracebackType
from typing import IO, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from requests.utils import get_environ_proxies, prepend_scheme_if_needed, select_proxy
from yarl import URL

from tasks.web.addresses import AddressError, check_address, is_exempt, is_public

USER_AGENT = "poster-genres"

_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRANSIENT_STATUSES = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
# A body up to this size is read although it is not needed: an unread one would prevent reuse of the connection.
_MAX_SKIPPED_BYTES = 64 * 1024
_ERRORS_OF_THIS_MACHINE = frozenset({errno.EMFILE, errno.ENFILE})


class RequestError(Exception):
    """A request failed.

    Attributes:
        reason: Why, in a few words: those of `AddressError`, `https to http`, `too many redirects`, `timeout`,
            `connection broken`, `no connection`, `no secure connection`, `name not resolved` or `proxy refused`.
        is_transient: Whether the same request may succeed later.
        is_unreachable: Whether no connection could be opened, so that the whole host, or the network, may be gone.
    """

    def __init__(self, reason: str, *, is_transient: bool = False, is_unreachable: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_transient = is_transient or is_unreachable
        self.is_unreachable = is_unreachable


class Client:
    """A client that keeps its connections open, and no cookies. An asynchronous context manager.

    The address that a connection is opened to is checked, so that a name that resolves to another one after it was
    checked is refused, too. Behind a proxy, which resolves names itself, only the name is checked.

    Args:
        connections: Maximum number of open connections.
        connect_timeout_seconds: Time limit for opening one connection.
        private_hosts: Hosts that may have private addresses, as in `tasks.web.addresses.is_exempt`.
    """

    def __init__(self, connections: int, connect_timeout_seconds: float, private_hosts: Collection[str] = ()) -> None:
        self._connections = connections
        self._connect_timeout_seconds = connect_timeout_seconds
        self._private_hosts = private_hosts
        self._proxies: dict[URL, str | None] = {}

    async def __aenter__(self) -> Self:
        self._direct = self._open_session(_PublicResolver(self._private_hosts))
        self._proxied = self._open_session(None)  # connects to proxies alone, which are often private
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._direct.close()
        await self._proxied.close()

    def _open_session(self, resolver: AbstractResolver | None) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, resolver=resolver),
            headers={"User-Agent": USER_AGENT},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    @asynccontextmanager
    async def get(
        self, address: str, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Sends a GET request, follows redirects, and yields the last response, its body still to be read.

        Args:
            address: Address as in a catalog.
            headers: Headers of the request.

        Raises:
            RequestError: There is no response, or its body, which is read within the block, breaks off.
            OSError: This machine has no more open files.
        """
        try:
            url = check_address(address, self._private_hosts)
            for _ in range(_MAX_REDIRECTS + 1):
                proxy = self._find_proxy(url)
                session = self._proxied if proxy else self._direct
                async with session.get(url, headers=headers, proxy=proxy, allow_redirects=False) as response:
                    location = response.headers.get("Location")
                    if response.status not in _REDIRECTS or location is None:
                        yield response
                        return
                    await skip_body(response)
                    url = self._follow(url, location)
            raise RequestError("too many redirects")
        except (AddressError, aiohttp.ClientError, OSError) as error:
            if isinstance(error, OSError) and error.errno in _ERRORS_OF_THIS_MACHINE:
                raise
            raise _request_error(error) from error

    def _follow(self, url: URL, location: str) -> URL:
        try:
            target = url.join(URL(location))
        except ValueError as error:
            raise AddressError("bad address") from error
        target = check_address(str(target), self._private_hosts)
        if url.scheme == "https" and target.scheme == "http":
            raise RequestError("https to http")
        return target

    def _find_proxy(self, url: URL) -> str | None:
        origin = url.origin()
        if origin not in self._proxies:  # a look-up in the environment takes as long as a request
            address = str(origin)
            proxy = select_proxy(address, get_environ_proxies(address, no_proxy=None))
            self._proxies[origin] = prepend_scheme_if_needed(proxy, "http") if proxy else None  # type: ignore[no-untyped-call]
        return self._proxies[origin]


def is_transient(status: int) -> bool:
    """Returns whether a request that got this status may succeed later."""
    return status in _TRANSIENT_STATUSES or status >= HTTPStatus.INTERNAL_SERVER_ERROR


async def skip_body(response: aiohttp.ClientResponse) -> None:
    """Reads a body that is not needed if it is small, so that the connection can be used again; else closes it."""
    if (response.content_length or _MAX_SKIPPED_BYTES) >= _MAX_SKIPPED_BYTES:
        response.close()
        return
    length = 0
    async for chunk in response.content.iter_any():  # decompressed, it may be longer than announced
        length += len(chunk)
        if length > _MAX_SKIPPED_BYTES:
            response.close()
            return


def _request_error(error: AddressError | aiohttp.ClientError | OSError) -> RequestError:
    if isinstance(error, AddressError):
        return RequestError(error.reason)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return RequestError("timeout", is_unreachable=True)
    if isinstance(error, TimeoutError):
        return RequestError("timeout", is_transient=True)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return RequestError("proxy refused", is_unreachable=True)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return RequestError("name not resolved", is_unreachable=True)
    if isinstance(error, aiohttp.ClientSSLError):
        return RequestError("no secure connection", is_unreachable=True)
    if isinstance(error, aiohttp.ClientConnectorError):
        return RequestError("no connection", is_unreachable=True)
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return RequestError("bad address")
    return RequestError("connection broken", is_transient=True)


class _PublicResolver(AbstractResolver):
    """Resolves names to public addresses only."""

    def __init__(self, private_hosts: Collection[str]) -> None:
        self._private_hosts = private_hosts
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if is_exempt(host, self._private_hosts):
            return found
        public = [result for result in found if is_public(result["host"])]
        if found and not public:
            raise AddressError("private address")
        return public

    async def close(self) -> None:
        await self._resolver.close()


def copy_address(address: str, file: IO[bytes], *, max_bytes: int, seconds: float, client: Client) -> None:
    """Writes the whole body at an address to a file, in place of what the file has.

    Args:
        address: Address, http or https.
        file: File to write to; after an error it may have a part of the body.
        max_bytes: Maximum size of the body, decompressed.
        seconds: Time limit.
        client: Client that is not open.

    Raises:
        RequestError: The request failed, has another status than 200, the body is too large, cut short, or its length
            was not announced, so that one that is cut short would look like a whole one.
    """
    asyncio.run(_copy_address(address, file, max_bytes=max_bytes, seconds=seconds, client=client))


async def _copy_address(address: str, file: IO[bytes], *, max_bytes: int, seconds: float, client: Client) -> None:
    file.seek(0)
    file.truncate()
    num_bytes = 0
    try:
        async with asyncio.timeout(seconds), client, client.get(address) as response:
            if response.status != HTTPStatus.OK:
                raise RequestError(f"http {response.status}", is_transient=is_transient(response.status))
            if response.content_length is None and not response.headers.get("Transfer-Encoding"):
                raise RequestError("no length announced")
            async for chunk in response.content.iter_any():
                num_bytes += len(chunk)
                if num_bytes > max_bytes:
                    raise RequestError("too large")
                file.write(chunk)
    except TimeoutError as error:
        raise RequestError("timeout", is_transient=True) from error
