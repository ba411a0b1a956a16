"""Suppress the messages of compiled code on the terminal."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_native_code() -> Iterator[None]:
    """Discards standard error while the block runs: the converter and LiteRT have no option to be quiet.

    For blocks of a second or two whose failures are exceptions: output of other threads is lost meanwhile.
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
