"""Keep what compiled code writes about itself off the terminal."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_native_code() -> Iterator[None]:
    """Sends standard error nowhere while the block runs: the converter and LiteRT know no other way to be quiet.

    For blocks of a second or two whose failures are exceptions: what other threads write meanwhile is lost.
    """
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
