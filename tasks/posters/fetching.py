"""Download posters over HTTP, bounded in bytes and time, with retries; a failure is a reason, not an exception.

With aiohttp: its deadline applies to a whole exchange, however slowly a server sends, for which requests has no
setting; and one process downloads several times as many posters as with threads, which block each other.
"""

import asyncio
import dataclasses
import functools
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_base, wait_random_exponential
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from tasks.posters.images import ImageInfo, NotAPosterError, check_image
from tasks.settings import PosterSettings

_MAX_REDIRECTS = 5
_MAX_SKIPPED_BYTES = 64 * 1024
_MAX_BYTES_CHECKED_AT_ONCE = 100_000
_NOT_MODIFIED = 304
_USER_AGENT = "poster-genres/0.1"


@dataclass(frozen=True)
class Validators:
    """Validators of a poster, for a conditional request (RFC 9110, 13.1).

    Attributes:
        etag: Header ETag of an earlier response.
        last_modified: Header Last-Modified of an earlier response.
    """

    etag: str | None
    last_modified: str | None

    def as_headers(self) -> dict[str, str]:
        """Returns the headers with which a server sends the poster only if it has changed."""
        headers = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in headers.items() if value}


@dataclass(frozen=True)
class PosterRequest:
    """A request for one poster.

    Attributes:
        url: Address of the poster.
        validators: Validators of the copy that exists already; None for an unconditional request.
    """

    url: str
    validators: Validators | None = None


@dataclass(frozen=True)
class Fetched:
    """The result of one request for a poster.

    Attributes:
        attempts: Number of attempts.
        seconds: Duration of all attempts, with the waits between them.
        reason: Why the download failed; None if it succeeded or the poster is unchanged.
        http_status: Status of the last response, if there was one.
        content: Image bytes as received; None if the download failed or the poster is unchanged.
        sha256: Hash of `content`, hexadecimal.
        image: Format and size of the image.
        etag: Header ETag of the response.
        last_modified: Header Last-Modified of the response.
        unchanged: Whether the server confirmed the validators of the request.
    """

    attempts: int = 0
    seconds: float = 0.0
    reason: str | None = None
    http_status: int | None = None
    content: bytes | None = None
    sha256: str | None = None
    image: ImageInfo | None = None
    etag: str | None = None
    last_modified: str | None = None
    unchanged: bool = False


class _FetchError(Exception):
    """A failed attempt."""

    def __init__(
        self, reason: str, *, http_status: int | None = None, transient: bool = False, retry_after: float = 0.0
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.http_status = http_status
        self.transient = transient
        self.retry_after = retry_after


class _WaitForRetryAfter(wait_base):
    """Exponential backoff with full jitter, or the server's Retry-After if that is longer."""

    def __init__(self, backoff_seconds: float) -> None:
        self._backoff = wait_random_exponential(multiplier=backoff_seconds, max=30)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome and retry_state.outcome.exception()
        retry_after = error.retry_after if isinstance(error, _FetchError) else 0.0
        return max(retry_after, self._backoff(retry_state))


def fetch_posters(
    requests: Sequence[PosterRequest],
    settings: PosterSettings,
    connections: int,
    on_fetched: Callable[[Fetched], None] = lambda _: None,
) -> list[Fetched]:
    """Downloads and checks posters.

    Args:
        requests: Requests for posters.
        settings: Bounds and retries.
        connections: Number of posters downloaded at the same time; connections are reused.
        on_fetched: Callback for each result, in the order of completion.

    Returns:
        The results, in the order of the requests.
    """
    return asyncio.run(_fetch_posters(requests, settings, connections, on_fetched))


async def _fetch_posters(
    requests: Sequence[PosterRequest],
    settings: PosterSettings,
    connections: int,
    on_fetched: Callable[[Fetched], None],
) -> list[Fetched]:
    fetched: dict[int, Fetched] = {}
    waiting = iter(enumerate(requests))

    async def fetch_next() -> None:
        for number, request in waiting:
            fetched[number] = await fetch_poster(session, request, settings)
            on_fetched(fetched[number])

    async with open_session(settings, connections) as session, asyncio.TaskGroup() as tasks:
        for _ in range(min(connections, len(requests))):
            tasks.create_task(fetch_next())
    return [fetched[number] for number in range(len(requests))]


def open_session(settings: PosterSettings, connections: int) -> aiohttp.ClientSession:
    """Returns a session that keeps no cookies; the caller closes it."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        headers={"User-Agent": _USER_AGENT},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout_seconds),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


@functools.lru_cache(maxsize=1024)
def _find_proxy(scheme: str, host: str) -> str | None:
    # As aiohttp's trust_env does; but that has no cache, and a look-up takes as long as a request.
    return None if proxy_bypass(host) else getproxies().get(scheme)


async def fetch_poster(session: aiohttp.ClientSession, request: PosterRequest, settings: PosterSettings) -> Fetched:
    """Downloads and checks one poster. A failure is the result's `reason`, and is not raised.

    With validators the request is conditional; a server that doesn't support them sends the poster again.

    Retried: 429 (after its Retry-After), 5xx, and connections that fail or break. Not retried: other statuses, images
    that are broken or too large, and attempts that would start after the deadline.

    Args:
        session: Open session.
        request: Request for the poster.
        settings: Bounds and retries.
    """
    start = time.monotonic()
    retrying = AsyncRetrying(
        retry=retry_if_exception(lambda error: isinstance(error, _FetchError) and error.transient),
        wait=_WaitForRetryAfter(settings.backoff_seconds),
        stop=stop_after_attempt(settings.attempts) | stop_before_delay(settings.deadline_seconds),
        reraise=True,
    )
    try:
        async with asyncio.timeout(settings.deadline_seconds):
            fetched = await _check(await retrying(_send_request, session, request, settings), settings)
    except TimeoutError:
        fetched = Fetched(reason="timeout")
    except _FetchError as error:
        fetched = Fetched(reason=error.reason, http_status=error.http_status)
    attempts = int(retrying.statistics["attempt_number"])
    return dataclasses.replace(fetched, attempts=attempts, seconds=time.monotonic() - start)


async def _check(response: "_Response", settings: PosterSettings) -> Fetched:
    if response.status == _NOT_MODIFIED:
        return Fetched(http_status=_NOT_MODIFIED, unchanged=True)
    try:
        check = functools.partial(check_image, response.content, min_side_pixels=settings.min_side_pixels)
        # Checking a small image takes less time than handing it to a thread; a large one must not block the others.
        is_small = len(response.content) <= _MAX_BYTES_CHECKED_AT_ONCE
        image = check() if is_small else await asyncio.to_thread(check)
    except NotAPosterError as error:
        raise _FetchError(error.reason, http_status=response.status) from error
    return Fetched(
        http_status=response.status,
        content=response.content,
        sha256=hashlib.sha256(response.content).hexdigest(),
        image=image,
        etag=response.etag,
        last_modified=response.last_modified,
    )


@dataclass(frozen=True)
class _Response:
    status: int
    content: bytes
    etag: str | None
    last_modified: str | None


async def _send_request(session: aiohttp.ClientSession, request: PosterRequest, settings: PosterSettings) -> _Response:
    headers = request.validators.as_headers() if request.validators else {}
    try:
        address = urlsplit(request.url)
        proxy = _find_proxy(address.scheme, address.hostname or "")
        async with session.get(request.url, headers=headers, max_redirects=_MAX_REDIRECTS, proxy=proxy) as response:
            content = b""
            if not (headers and response.status == _NOT_MODIFIED):
                await _check_status(response)
                content = await _read_body(response, settings.max_bytes)
            return _Response(
                status=response.status,
                content=content,
                etag=response.headers.get("ETag"),
                last_modified=response.headers.get("Last-Modified"),
            )
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, ValueError) as error:
        # ValueError: a redirect to an invalid address.
        raise _FetchError("bad address") from error
    except aiohttp.TooManyRedirects as error:
        raise _FetchError("too many redirects") from error
    except aiohttp.ServerTimeoutError as error:
        raise _FetchError("timeout", transient=True) from error
    except (aiohttp.ClientError, OSError) as error:
        raise _FetchError("connection broken", transient=True) from error


async def _check_status(response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status != 200:
        if (response.content_length or _MAX_SKIPPED_BYTES) < _MAX_SKIPPED_BYTES:
            await response.read()  # an unread body would prevent reuse of the connection
        raise _FetchError(
            f"http {status}",
            http_status=status,
            transient=status == 429 or status >= 500,
            retry_after=_parse_retry_after(response.headers.get("Retry-After", "")),
        )


async def _read_body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    body = bytearray()
    announced = response.content_length or 0
    if announced <= max_bytes:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > max_bytes:
                break
    if max(announced, len(body)) > max_bytes:
        raise _FetchError("too large", http_status=response.status)
    return bytes(body)


def _parse_retry_after(value: str) -> float:
    """Returns the seconds of a Retry-After header, a number or a date (RFC 9110, 10.2.3); 0 if missing or invalid."""
    try:
        return float(Retry().parse_retry_after(value))
    except (InvalidHeader, ValueError, OverflowError):
        # The last two: numbers of thousands of digits, dates beyond the calendar.
        return 0.0
