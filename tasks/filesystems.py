"""Errors of the filesystems behind fsspec, which are more than OSError."""

import sys

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
