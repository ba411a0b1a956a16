"""A named pipe in the place of an image, whose readers are killed while they read it."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def deadly_image(path: Path, num_deaths: int) -> Iterator[list[int]]:
    """Replaces an image by a pipe until the end of the block.

    Args:
        path: The image.
        num_deaths: Number of processes that are killed; the next ones get the image.

    Yields:
        Ids of the processes that were killed.
    """
    content = path.read_bytes()
    path.unlink()
    os.mkfifo(path)
    killed: list[int] = []
    has_ended = threading.Event()

    def serve() -> None:
        while not has_ended.is_set():
            with contextlib.suppress(BrokenPipeError), path.open("wb") as pipe:  # waits for a reader
                # The pipe of a killed process may outlive its entry in /proc: what is written then, nobody reads.
                while not has_ended.is_set() and not (readers := set(find_readers(path)).difference(killed)):
                    time.sleep(0.01)
                if has_ended.is_set():
                    return
                if len(killed) == num_deaths:
                    pipe.write(content)
                else:
                    for reader in readers:
                        os.kill(reader, signal.SIGKILL)
                    killed.extend(readers)
            while not has_ended.is_set() and readers.intersection(find_readers(path)):
                time.sleep(0.01)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield killed
    finally:
        has_ended.set()
        release = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        thread.join(30)
        os.close(release)
        path.unlink()
        path.write_bytes(content)


def find_readers(path: Path) -> list[int]:
    """Returns the ids of the other processes that have a file open."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_open = any(fd.readlink() == path for fd in (folder / "fd").iterdir())
            if is_open and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found
