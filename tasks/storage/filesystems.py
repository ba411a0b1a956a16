"""Errors of the filesystems behind fsspec, which are more than OSError."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.errors import PosterGenresError, StoreError, one_line

# By module: the errors raised beside OSError and ValueError.
_FOREIGN_ERRORS = {
    "aiohttp": ("ClientError",),
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "gcsfs.retry": ("HttpError",),
    "google.auth.exceptions": ("GoogleAuthError",),
}


def list_filesystem_errors() -> tuple[type[Exception], ...]:
    """Returns the exceptions that a filesystem of fsspec may raise when it can't be used.

    To be called in an `except` clause, which is evaluated only once something was raised: the modules that define the
    foreign errors have been imported by then, and no other is imported for this.
    """
    found: list[type[Exception]] = [OSError, ValueError, NotImplementedError]  # the last: read-only filesystems
    for module, names in _FOREIGN_ERRORS.items():
        if module in sys.modules:
            found += [getattr(sys.modules[module], name) for name in names]
    return tuple(found)


@contextmanager
def store_errors(where: str) -> Iterator[None]:
    """Turns an error at a file of a store into a `StoreError` of one line.

    Args:
        where: Path or address of the file.
    """
    try:
        yield
    except PosterGenresError:
        raise
    except list_filesystem_errors() as error:
        raise StoreError(
            f"{where} can't be read or written: {one_line(error)}; check the address, the network and the credentials"
        ) from error
