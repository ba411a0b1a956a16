"""Fetch posters over HTTP: bounded in bytes and time, tried again where that can help, the fate of each put in words.

By aiohttp: a deadline holds for a whole exchange, however slowly a server drips, which requests does not know; and one
process gets several times as many posters as with threads, which wait for each other.
"""

import asyncio
import dataclasses
import functools
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_base, wait_random_exponential

from tasks.posters.images import ImageInfo, NotAPosterError, check_image
from tasks.settings import PosterSettings

_MAX_REDIRECTS = 5
_MAX_SKIPPED_BYTES = 64 * 1024
_MAX_BYTES_CHECKED_AT_ONCE = 100_000
_NOT_MODIFIED = 304
_USER_AGENT = "poster-genres/0.1"


@dataclass(frozen=True)
class Validators:
    """What a server said a poster can be told by: the headers ETag and Last-Modified."""

    etag: str | None
    last_modified: str | None

    def as_headers(self) -> dict[str, str]:
        """Returns the headers that ask for the poster only if it is another one."""
        headers = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in headers.items() if value}


@dataclass(frozen=True)
class Fetched:
    """What came of asking for one poster. `reason` is None exactly when there is a poster, sent now or unchanged."""

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
    """A try that gave no poster."""

    def __init__(
        self, reason: str, *, http_status: int | None = None, transient: bool = False, retry_after: float = 0.0
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.http_status = http_status
        self.transient = transient
        self.retry_after = retry_after


class _WaitAsAsked(wait_base):
    """Exponential backoff with full jitter, or as long as the server's Retry-After asks where that is longer."""

    def __init__(self, backoff_seconds: float) -> None:
        self._backoff = wait_random_exponential(multiplier=backoff_seconds, max=30)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome and retry_state.outcome.exception()
        asked = error.retry_after if isinstance(error, _FetchError) else 0.0
        return max(asked, self._backoff(retry_state))


def fetch_posters(
    asked: Sequence[tuple[str, Validators | None]],
    settings: PosterSettings,
    connections: int,
    on_fetched: Callable[[Fetched], None] = lambda _: None,
) -> list[Fetched]:
    """Downloads and checks posters, `connections` at a time, and returns what came of each, in order.

    Args:
        asked: addresses; see `fetch_poster`.
        settings: bounds and retries.
        connections: are kept open from poster to poster.
        on_fetched: is called with each as it comes.
    """
    return asyncio.run(_fetch_posters(asked, settings, connections, on_fetched))


async def _fetch_posters(
    asked: Sequence[tuple[str, Validators | None]],
    settings: PosterSettings,
    connections: int,
    on_fetched: Callable[[Fetched], None],
) -> list[Fetched]:
    fetched: dict[int, Fetched] = {}
    waiting = iter(enumerate(asked))

    async def fetch_next() -> None:
        for number, (url, validators) in waiting:
            fetched[number] = await fetch_poster(session, url, settings, validators)
            on_fetched(fetched[number])

    async with open_session(settings, connections) as session, asyncio.TaskGroup() as tasks:
        for _ in range(min(connections, len(asked))):
            tasks.create_task(fetch_next())
    return [fetched[number] for number in range(len(asked))]


def open_session(settings: PosterSettings, connections: int) -> aiohttp.ClientSession:
    """Returns a session, to be closed by the caller. Cookies are not kept."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        headers={"User-Agent": _USER_AGENT},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout_seconds),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


@functools.lru_cache(maxsize=1024)
def _find_proxy(scheme: str, host: str) -> str | None:
    # As aiohttp's trust_env does; but that looks anew for every request, which takes as long as the request.
    return None if proxy_bypass(host) else getproxies().get(scheme)


async def fetch_poster(
    session: aiohttp.ClientSession, url: str, settings: PosterSettings, validators: Validators | None = None
) -> Fetched:
    """Downloads and checks one poster. Whatever goes wrong on the way is told in the answer, not raised.

    With `validators` the server is asked for it only if it is another than the one that came with them (RFC 9110,
    13.1); one that gave none sends it again.

    Tried again: 429 (after its Retry-After), 5xx, and connections that fail or break. Not tried again: other
    statuses, pictures that are broken or too large, and whatever no longer fits into the deadline.
    """
    start = time.monotonic()
    retrying = AsyncRetrying(
        retry=retry_if_exception(lambda error: isinstance(error, _FetchError) and error.transient),
        wait=_WaitAsAsked(settings.backoff_seconds),
        stop=stop_after_attempt(settings.attempts) | stop_before_delay(settings.deadline_seconds),
        reraise=True,
    )
    try:
        async with asyncio.timeout(settings.deadline_seconds):
            fetched = await _check(await retrying(_request, session, url, settings, validators), settings)
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
        arguments = (response.content, settings.min_side_pixels)
        # A small picture is checked sooner than a thread has it; a large one must not keep the other downloads waiting.
        is_small = len(response.content) <= _MAX_BYTES_CHECKED_AT_ONCE
        image = check_image(*arguments) if is_small else await asyncio.to_thread(check_image, *arguments)
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


async def _request(
    session: aiohttp.ClientSession, url: str, settings: PosterSettings, validators: Validators | None
) -> _Response:
    headers = validators.as_headers() if validators else {}
    try:
        address = urlsplit(url)
        proxy = _find_proxy(address.scheme, address.hostname or "")
        async with session.get(url, headers=headers, max_redirects=_MAX_REDIRECTS, proxy=proxy) as response:
            content = b""
            if not (headers and response.status == _NOT_MODIFIED):
                await _check_status(response)
                content = await _read_body(response, settings.max_bytes)
            return _Response(
                response.status, content, response.headers.get("ETag"), response.headers.get("Last-Modified")
            )
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, ValueError) as error:
        # The latter from redirects to what is no address.
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
            await response.read()  # or the connection could not be used again
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
    """Returns the seconds a Retry-After header asks to wait (RFC 9110, 10.2.3: seconds or a date); 0 without one."""
    try:
        if value.strip().isdigit():
            return float(value)
        at = parsedate_to_datetime(value)
        return max(0.0, (at.astimezone(UTC) - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return 0.0
