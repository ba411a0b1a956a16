"""The bytes of a catalog: in memory, or if they are many, in a temporary file that is mapped and has no name.

It is a copy, since a process ends that has mapped a file which another one truncates.
"""

import mmap
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from tasks.errors import CatalogError, describe_os_error

Content = bytes | mmap.mmap

_MAX_BYTES_IN_MEMORY = 1 << 26
_CHUNK_BYTES = 1 << 22


class CopyError(CatalogError):
    """This machine has no room for a copy of the catalog, whose source is not to blame."""

    exit_code = 1


def store(write: Callable[[IO[bytes]], object]) -> Content:
    """Returns the bytes that a function writes to a file.

    Args:
        write: Function that is called once, with an empty file.

    Raises:
        CopyError: The temporary file can't be written.
    """
    with _Copy(_MAX_BYTES_IN_MEMORY) as file:
        write(file)
        with _copy_errors():
            if file.seek(0, 2) > _MAX_BYTES_IN_MEMORY:
                file.flush()
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            file.seek(0)
            return file.read()


class _Copy(tempfile.SpooledTemporaryFile[bytes]):
    """The copy. Who writes to it reads from the source, whose errors are of the same kinds as the disk's."""

    def write(self, content: Any) -> int:
        with _copy_errors():
            return super().write(content)


@contextmanager
def _copy_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        error.filename = tempfile.gettempdir()
        raise CopyError(
            f"the catalog can't be copied: {describe_os_error(error)}; or name another folder for temporary files in "
            "the environment variable TMPDIR"
        ) from error


def iterate_chunks(content: Content, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """Yields the bytes from an offset up to another, by default the end, some megabytes at a time."""
    stop = len(content) if stop is None else stop
    for position in range(start, stop, _CHUNK_BYTES):
        yield content[position : min(position + _CHUNK_BYTES, stop)]
        release(content)


def release(content: Content) -> None:
    """Takes what was read of a mapped file out of the memory of this process; it can be read again."""
    if isinstance(content, mmap.mmap):
        content.madvise(mmap.MADV_DONTNEED)
