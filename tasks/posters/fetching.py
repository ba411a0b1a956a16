"""Fetch one poster over HTTP: bounded in bytes and time, tried again where that can help, its fate put in words."""

import hashlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests
import urllib3
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_base, wait_random_exponential

from tasks.posters.deadlines import DeadlineAdapter, Watchdog
from tasks.posters.images import ImageInfo, NotAPosterError, check_image
from tasks.settings import PosterSettings

_CHUNK_BYTES = 64 * 1024
_MAX_REDIRECTS = 5
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

    attempts: int
    seconds: float
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


def make_session() -> requests.Session:
    """Returns a session for one thread: its connections are kept open between posters and end at their deadlines."""
    session = requests.Session()
    session.headers["User-Agent"] = _USER_AGENT
    session.max_redirects = _MAX_REDIRECTS
    for scheme in ("http://", "https://"):
        session.mount(scheme, DeadlineAdapter())
    return session


def fetch_poster(
    session: requests.Session,
    watchdog: Watchdog,
    url: str,
    settings: PosterSettings,
    validators: Validators | None = None,
) -> Fetched:
    """Downloads and checks one poster. Whatever goes wrong on the way is told in the answer, not raised.

    With `validators` the server is asked for it only if it is another than the one that came with them (RFC 9110,
    13.1); one that gave none sends it again.

    Tried again: 429 (after its Retry-After), 5xx, and connections that fail or break. Not tried again: other
    statuses, pictures that are broken or too large, and whatever no longer fits into the deadline.
    """
    start = time.monotonic()
    deadline = start + settings.deadline_seconds
    retrying = Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, _FetchError) and error.transient),
        wait=_WaitAsAsked(settings.backoff_seconds),
        stop=stop_after_attempt(settings.attempts) | stop_before_delay(settings.deadline_seconds),
        reraise=True,
    )
    try:
        with watchdog.watch(deadline):
            response, content = retrying(_request, session, url, settings, deadline, validators)
        if response.status_code == _NOT_MODIFIED:
            seconds = time.monotonic() - start
            return Fetched(_attempts(retrying), seconds, http_status=_NOT_MODIFIED, unchanged=True)
        image = check_image(content, settings.min_side_pixels)
    except (_FetchError, NotAPosterError) as error:
        http_status = error.http_status if isinstance(error, _FetchError) else response.status_code
        return Fetched(_attempts(retrying), time.monotonic() - start, error.reason, http_status)
    return Fetched(
        _attempts(retrying),
        time.monotonic() - start,
        http_status=response.status_code,
        content=content,
        sha256=hashlib.sha256(content).hexdigest(),
        image=image,
        etag=response.headers.get("ETag"),
        last_modified=response.headers.get("Last-Modified"),
    )


def _attempts(retrying: Retrying) -> int:
    return int(retrying.statistics["attempt_number"])


def _request(
    session: requests.Session, url: str, settings: PosterSettings, deadline: float, validators: Validators | None
) -> tuple[requests.Response, bytes]:
    seconds_left = deadline - time.monotonic()
    if seconds_left <= 0:
        raise _FetchError("timeout")
    timeouts = (min(settings.connect_timeout_seconds, seconds_left), seconds_left)
    try:
        headers = validators.as_headers() if validators else {}
        with session.get(url, headers=headers, stream=True, timeout=timeouts) as response:
            if headers and response.status_code == _NOT_MODIFIED:
                return response, b""
            _check_status(response)
            return response, _read_body(response, settings.max_bytes, deadline)
    except (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
    ) as error:
        raise _FetchError("bad address") from error
    except requests.TooManyRedirects as error:
        raise _FetchError("too many redirects") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        # The latter two come from reading the body, which goes past requests' own iterator.
        if time.monotonic() >= deadline or isinstance(error, requests.Timeout):
            raise _FetchError("timeout", transient=time.monotonic() < deadline) from error
        raise _FetchError("connection broken", transient=True) from error
    except ValueError as error:
        # What urllib and requests raise on a redirect to an address that is none.
        raise _FetchError("bad address") from error


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    if status != 200:
        raise _FetchError(
            f"http {status}",
            http_status=status,
            transient=status == 429 or status >= 500,
            retry_after=_parse_retry_after(response.headers.get("Retry-After", "")),
        )


def _read_body(response: requests.Response, max_bytes: int, deadline: float) -> bytes:
    announced = response.headers.get("Content-Length", "")
    if announced.isdigit() and int(announced) > max_bytes:
        raise _FetchError("too large", http_status=response.status_code)
    body = bytearray()
    # read1 gives what has come so far; read(n) and iter_content wait for n bytes, however slowly they drip in.
    while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
        body += chunk
        if len(body) > max_bytes:
            raise _FetchError("too large", http_status=response.status_code)
        if time.monotonic() >= deadline:
            break
    if time.monotonic() >= deadline:
        # Or the watchdog ended the exchange; without an announced length that looks like the end of the body.
        raise _FetchError("timeout", http_status=response.status_code)
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
