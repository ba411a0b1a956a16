"""Download posters over HTTP, bounded in bytes and time, with retries; a failure is a reason, not an exception."""

import asyncio
import dataclasses
import functools
import hashlib
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_base, wait_random_exponential
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry
from yarl import URL

from tasks.posters.hosts import Hosts
from tasks.posters.images import ImageInfo, NotAPosterError, check_image
from tasks.settings import PosterSettings
from tasks.web.addresses import redact
from tasks.web.client import Client, RequestError, is_transient, skip_body

logger = logging.getLogger(__name__)

_MAX_BYTES_CHECKED_AT_ONCE = 100_000
_NOT_MODIFIED = 304


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
        fallback_url: Address on the same host, for when there is no poster at the first; None: there is none.
    """

    url: str
    validators: Validators | None = None
    fallback_url: str | None = None


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

    @property
    def is_final_failure(self) -> bool:
        """Whether the server answered, and has no poster there."""
        return self.reason is not None and self.http_status is not None and not is_transient(self.http_status)


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


def fetch_posters(requests: Sequence[PosterRequest], settings: PosterSettings) -> list[Fetched]:
    """Downloads and checks some posters.

    Args:
        requests: Requests for posters, few enough for their bytes to be in memory together.
        settings: Settings of the stage.

    Returns:
        The results, in the order of the requests.
    """
    fetched: dict[int, Fetched] = {}
    stream_posters(requests, settings, Hosts(settings), fetched.__setitem__)
    return [fetched[number] for number in range(len(requests))]


def stream_posters(
    requests: Sequence[PosterRequest],
    settings: PosterSettings,
    hosts: Hosts,
    on_fetched: Callable[[int, Fetched], None],
    share: float = 1.0,
) -> None:
    """Downloads and checks posters; each result is passed on as soon as it is there.

    The posters of each host wait in a queue of their own, so that one host that is slow does not delay the others.

    Args:
        requests: Requests for posters.
        settings: Settings of the stage.
        hosts: The hosts, as other posters of the run have shown them.
        on_fetched: Callback for each result, with the number of its request, in the order of completion.
        share: Share of this process in the connections of the run, in (0, 1].

    Raises:
        OSError: This machine fails, not a server: no more open files, or an error of the callback.
    """
    try:
        asyncio.run(_stream_posters(requests, settings, hosts, on_fetched, share))
    except* OSError as group:
        raise group.exceptions[0] from group


async def _stream_posters(
    requests: Sequence[PosterRequest],
    settings: PosterSettings,
    hosts: Hosts,
    on_fetched: Callable[[int, Fetched], None],
    share: float,
) -> None:
    queues: defaultdict[str, list[int]] = defaultdict(list)
    for number, request in enumerate(requests):
        queues[name_host(request.url)].append(number)
    connections = max(1, int(settings.connections * share))
    connections_per_host = max(1, int(settings.connections_per_host * share))
    free_connections = asyncio.Semaphore(connections)
    client = Client(connections, settings.connect_timeout_seconds, settings.allow_private_hosts)
    fetcher = _Fetcher(client, settings, hosts)

    async def fetch(request: PosterRequest, host: str) -> Fetched:
        # Waits without a connection, and before the poster's deadline begins.
        await hosts[host].wait_for_turn()
        async with free_connections:
            return await fetcher.fetch(request, host)

    async def fetch_next(host: str, waiting: Iterable[int]) -> None:
        for number in waiting:
            fetched = await fetch(requests[number], host)
            fallback_url = requests[number].fallback_url
            if fallback_url and fetched.is_final_failure:
                fetched = await fetch(dataclasses.replace(requests[number], url=fallback_url), host)
            on_fetched(number, fetched)

    async with client, asyncio.TaskGroup() as tasks:
        waiting = {host: iter(numbers) for host, numbers in queues.items()}
        for rank in range(connections_per_host):  # a connection to each host, before any gets a second one
            for host, numbers in queues.items():
                if rank < len(numbers):
                    tasks.create_task(fetch_next(host, waiting[host]))


def name_host(address: str) -> str:
    """Returns the host of an address with its port, by which requests are limited; "" if the address has none."""
    try:
        url = URL(address)
        return f"{url.raw_host}:{url.port}" if url.raw_host else ""
    except ValueError:
        return ""


class _Fetcher:
    """Downloads posters one by one.

    Args:
        client: Open client.
        settings: Settings of the stage.
        hosts: The hosts.
    """

    def __init__(self, client: Client, settings: PosterSettings, hosts: Hosts) -> None:
        self._client = client
        self._settings = settings
        self._hosts = hosts
        # Large images are decoded one at a time: each may take hundreds of megabytes.
        self._free_decoder = asyncio.Semaphore(1)

    async def fetch(self, request: PosterRequest, host: str) -> Fetched:
        """Downloads and checks one poster. A failure is the result's `reason`, and is not raised.

        With validators the request is conditional; a server that doesn't support them sends the poster again.

        Retried: 429 (after its Retry-After), 5xx, and connections that fail or break. Not retried: other statuses,
        images that are broken or too large, and attempts that would start after the deadline.

        Args:
            request: Request for the poster.
            host: Name of its host, as `name_host` returns it.
        """
        if reason := self._hosts.find_reason_to_skip(host):
            return Fetched(reason=reason)
        start = time.monotonic()
        attempts = _Attempts()
        try:
            async with asyncio.timeout(self._settings.deadline_seconds):
                fetched = await self._check(await self._retrying()(self._send_request, request, host, attempts))
        except TimeoutError:
            fetched = Fetched(reason="timeout")
        except _FetchError as error:
            fetched = Fetched(reason=error.reason, http_status=error.http_status)
        except (OSError, MemoryError):
            raise  # of this machine
        except Exception as error:
            # Whatever one server or picture does must not cost the other posters.
            logger.exception("posters: unexpected error at %s", redact(request.url))
            fetched = Fetched(reason=f"unexpected {type(error).__name__}")
        return dataclasses.replace(fetched, attempts=attempts.number, seconds=time.monotonic() - start)

    def _retrying(self) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, _FetchError) and error.transient),
            wait=_WaitForRetryAfter(self._settings.backoff_seconds),
            stop=stop_after_attempt(self._settings.attempts) | stop_before_delay(self._settings.deadline_seconds),
            reraise=True,
        )

    async def _send_request(self, request: PosterRequest, host: str, attempts: "_Attempts") -> "_Response":
        if attempts.number:
            await self._hosts[host].wait_for_turn()
        if reason := self._hosts.find_reason_to_skip(host):
            raise attempts.last_error or _FetchError(reason)
        attempts.number += 1
        started = time.monotonic()
        try:
            return await self._receive(request, host)
        except RequestError as error:
            if error.is_unreachable:
                self._hosts.record_unreachable(host, started)
            attempts.last_error = _FetchError(error.reason)
            raise _FetchError(error.reason, transient=error.is_transient) from error
        except _FetchError as error:
            attempts.last_error = _FetchError(error.reason, http_status=error.http_status)
            raise

    async def _receive(self, request: PosterRequest, host: str) -> "_Response":
        headers = request.validators.as_headers() if request.validators else {}
        async with self._client.get(request.url, headers) as response:
            self._hosts.record_response(host, response.status)
            content = b""
            if not (headers and response.status == _NOT_MODIFIED):
                await self._check_status(response, host)
                content = await _read_body(response, self._settings.max_bytes)
            return _Response(
                status=response.status,
                content=content,
                etag=_clean_header(response.headers.get("ETag")),
                last_modified=_clean_header(response.headers.get("Last-Modified")),
            )

    async def _check_status(self, response: aiohttp.ClientResponse, host: str) -> None:
        status = response.status
        if status != 200:
            await skip_body(response)
            retry_after = parse_retry_after(response.headers.get("Retry-After", ""))
            if status in (429, 503) and retry_after:
                self._hosts[host].pause(retry_after)
            raise _FetchError(
                f"http {status}", http_status=status, transient=is_transient(status), retry_after=retry_after
            )

    async def _check(self, response: "_Response") -> Fetched:
        if response.status == _NOT_MODIFIED:
            return Fetched(http_status=_NOT_MODIFIED, unchanged=True)
        check = functools.partial(check_image, response.content, min_side_pixels=self._settings.min_side_pixels)
        try:
            # Checking a small image takes less time than handing it to a thread; a large one must not block the others.
            if len(response.content) <= _MAX_BYTES_CHECKED_AT_ONCE:
                image = check()
            else:
                async with self._free_decoder:
                    image = await asyncio.to_thread(check)
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


@dataclass
class _Attempts:
    """The attempts for one poster: their number, and why the last one failed."""

    number: int = 0
    last_error: _FetchError | None = None


@dataclass(frozen=True)
class _Response:
    status: int
    content: bytes
    etag: str | None
    last_modified: str | None


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


def _clean_header(value: str | None) -> str | None:
    """Returns a header's value; None if it has characters that could not be sent back, or be written to a file."""
    return value if value is not None and value.isascii() and value.isprintable() else None


def parse_retry_after(value: str) -> float:
    """Returns the seconds of a Retry-After header, a number or a date (RFC 9110, 10.2.3); 0 if missing or invalid."""
    try:
        return float(Retry().parse_retry_after(value))
    except (InvalidHeader, ValueError, OverflowError):
        # The last two: numbers of thousands of digits, dates beyond the calendar.
        return 0.0
