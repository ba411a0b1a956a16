"""Objects at an address that fsspec supports: they appear whole or not at all, and are read whole or in ranges."""

import contextlib
import io
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import fsspec
from fsspec.asyn import AsyncFileSystem
from fsspec.callbacks import Callback
from fsspec.implementations.local import LocalFileSystem

from tasks.atomic import atomic_file
from tasks.errors import RegistryError, StoreError
from tasks.storage.filesystems import store_errors
from tasks.storage.pointer import Pointer, open_pointer
from tasks.web.addresses import has_credentials

# In a folder, pointers are replaced under a lock: its files are no objects.
_LOCK = ".lock"


class ObjectStore:
    """The objects under an address.

    Args:
        address: Folder, `s3://bucket/path`, `gs://bucket/path`, `https://host/path`, or any other address that fsspec
            supports with the packages installed. Credentials and endpoints come from the environment variables of
            the libraries behind it (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL` and so on).

    Raises:
        RegistryError: If fsspec does not support the address, or it has a password.
    """

    def __init__(self, address: str) -> None:
        if has_credentials(address):
            raise RegistryError(
                f"{address} has a user name or a password: give them by the environment, or by fsspec's configuration"
            )
        self.address = address
        try:
            self._files, root = fsspec.core.url_to_fs(address)
        except (ValueError, ImportError) as error:
            raise RegistryError(
                f"{address} is not a supported store: {error}; expected a folder, or an address that fsspec knows"
            ) from error
        self._root = root.rstrip("/")
        self._files.invalidate_cache()  # of listings, from an earlier store in this process

    def describe(self, name: str) -> str:
        """Returns the address of an object, for messages.

        Args:
            name: Name of the object: its path under the store's address.
        """
        path = self._path(name)
        return path if isinstance(self._files, LocalFileSystem) else str(self._files.unstrip_protocol(path))

    def read(self, name: str) -> bytes | None:
        """Returns the content of an object, None if it does not exist.

        Raises:
            StoreError: If the store can't be read.
        """
        with store_errors(self.describe(name)):
            try:
                return bytes(self._files.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Writes an object, whole or not at all; one that exists is replaced.

        Raises:
            StoreError: If the store can't be written.
        """
        with store_errors(self.describe(name)):
            if isinstance(self._files, LocalFileSystem):
                with atomic_file(Path(self._path(name))) as partial:
                    partial.write_bytes(content)
            else:
                # An object of an object store appears whole or not at all.
                self._files.pipe_file(self._path(name), content)

    def send(self, path: Path, name: str) -> None:
        """Copies a file to an object, whole or not at all; one that exists is replaced.

        Raises:
            StoreError: If the store can't be written.
        """
        with store_errors(self.describe(name)):
            if isinstance(self._files, LocalFileSystem):
                with atomic_file(Path(self._path(name))) as partial:
                    shutil.copyfile(path, partial)
            else:
                self._files.put_file(str(path), self._path(name))

    def find_size(self, name: str) -> int | None:
        """Returns the size of an object in bytes, None if the store does not tell.

        Raises:
            FileNotFoundError: If it does not exist.
            StoreError: If the store can't be read.
        """
        with _missing(self.describe(name)):
            size: int | None = self._files.info(self._path(name)).get("size")
        return size

    def fetch(self, name: str, num_bytes: int, target: Path) -> None:
        """Copies an object to a file.

        Args:
            name: Name of the object.
            num_bytes: Expected size. A longer object is not fetched to its end.
            target: Path of the file; its folder is created.

        Raises:
            FileNotFoundError: If the object does not exist.
            RegistryError: If it is too long.
            StoreError: If it can't be read.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        limit = _SizeLimit(num_bytes, self.describe(name))
        with _missing(self.describe(name)):
            self._files.get_file(self._path(name), str(target), callback=limit)

    def open(self, name: str, num_bytes: int) -> io.RawIOBase:
        """Returns an object as a file that requests the ranges that are read, and has no buffer of its own.

        Args:
            name: Name of the object.
            num_bytes: Its size.

        Raises:
            FileNotFoundError: Later, by a read, if the object does not exist.
            StoreError: Likewise, if it can't be read.
        """
        return _Ranges(self._files, self._path(name), num_bytes, self.describe(name))

    def list_names(self, folder: str) -> list[str]:
        """Returns the last part of the names directly under a name, sorted; none if there are none.

        Raises:
            StoreError: If the store can't be listed.
        """
        with store_errors(self.describe(folder)):
            try:
                self._files.invalidate_cache()
                found = self._files.ls(self._path(folder), detail=False)
            except FileNotFoundError:
                return []
        names = (entry.rstrip("/").rpartition("/")[2] for entry in found)
        return sorted(name for name in names if not name.startswith(_LOCK))

    def list_sizes(self, folder: str) -> dict[str, int | None]:
        """Returns the sizes in bytes of all objects under a name, by their names without that.

        A listing has a thousand objects by a request. A size is None if the store does not tell it.

        Raises:
            StoreError: If the store can't be listed.
        """
        return {name: about.get("size") for name, about in self._list(folder)}

    def list_times(self, folder: str) -> Iterator[tuple[str, float]]:
        """Yields the names of all objects under a name, without that, and when they were written, in Unix time.

        Raises:
            StoreError: If the store can't be listed, or does not tell the times.
        """
        for name, about in self._list(folder):
            # Of S3; of GCS and others; of a folder.
            time = about.get("LastModified") or about.get("mtime") or about.get("created")
            if isinstance(time, datetime):
                time = time.timestamp()
            if not isinstance(time, float):
                raise StoreError(
                    f"{self.describe(folder)}: the store does not tell when its objects were written: expected times, "
                    "by which garbage is known; remove it by hand"
                )
            yield name, time

    def _list(self, folder: str) -> list[tuple[str, dict[str, Any]]]:
        """Returns all objects under a name: their names without that, and what the store says of them."""
        root = self._path(folder)
        with store_errors(self.describe(folder)):
            self._files.invalidate_cache()
            found = self._files.find(root, detail=True)
        names = ((path.removeprefix(f"{root}/"), about) for path, about in found.items())
        return [(name, about) for name, about in names if not name.rpartition("/")[2].startswith(_LOCK)]

    def remove(self, name: str) -> None:
        """Removes an object; one that does not exist is no error.

        Raises:
            StoreError: If the store can't be written.
        """
        with store_errors(self.describe(name)):
            try:
                self._files.rm_file(self._path(name))
            except FileNotFoundError:
                return

    def remove_all(self, names: Iterable[str]) -> None:
        """Removes objects, on S3 a thousand by a request; one that does not exist is no error.

        Raises:
            StoreError: If the store can't be written. Of a single object that it refuses to remove, S3's library tells
                nothing.
        """
        names = list(names)
        # Of a name with such a character, the library would remove what matches.
        if names and isinstance(self._files, AsyncFileSystem) and not set("".join(names)) & set("*?["):
            with store_errors(self.describe(names[0])), contextlib.suppress(FileNotFoundError):
                self._files.rm([self._path(name) for name in names])
                return
        for name in names:
            self.remove(name)

    def pointer(self, name: str) -> Pointer:
        """Returns an object that is replaced only if it is what was read before."""
        return open_pointer(self._files, self._path(name), self.describe(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


class _Ranges(io.RawIOBase):
    """An object as a seekable file. Errors are `StoreError`s: a reader must not take them for a damaged file."""

    def __init__(self, filesystem: Any, path: str, num_bytes: int, where: str) -> None:
        super().__init__()
        self._filesystem, self._path, self._where = filesystem, path, where
        self._num_bytes, self._position = num_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._num_bytes}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def size(self) -> int:
        """Returns the size in bytes."""
        return self._num_bytes

    def read(self, num_bytes: int = -1) -> bytes:
        stop = self._num_bytes if num_bytes < 0 else min(self._position + num_bytes, self._num_bytes)
        if stop <= self._position:
            return b""
        with _missing(self._where):
            content = bytes(self._filesystem.cat_file(self._path, start=self._position, end=stop))
        self._position += len(content)
        return content


class _SizeLimit(Callback):  # type: ignore[misc]  # fsspec has no types
    """Ends a transfer that brings more than was declared, whatever the store said of the file's size."""

    def __init__(self, num_bytes: int, where: str) -> None:
        super().__init__()
        self._num_bytes, self._where = num_bytes, where

    def relative_update(self, inc: int = 1) -> None:
        super().relative_update(inc)
        if self.value > self._num_bytes:
            raise RegistryError(f"refused {self._where}: it has more bytes than the {self._num_bytes:,} expected")


@contextmanager
def _missing(where: str) -> Iterator[None]:
    """Turns errors of the store into a `StoreError`, but lets `FileNotFoundError` pass."""
    missing = None
    with store_errors(where):
        try:
            yield
        except FileNotFoundError as error:
            missing = error
    if missing:
        raise FileNotFoundError(where) from missing
