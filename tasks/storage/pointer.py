"""A small file that several machines change: it is replaced only if it is what was read before."""

import hashlib
import logging
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from tasks.atomic import atomic_file
from tasks.errors import ConflictError
from tasks.locking import locked
from tasks.storage.filesystems import store_errors

logger = logging.getLogger(__name__)

# A change takes a moment; other changes of a registry hold the same lock for a second or two.
_LOCK_SECONDS = 60.0
# The answers of S3 to a write whose condition does not hold. 404: the object is gone. 409: another write is under way.
_CHANGED = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "409", "NoSuchKey", "404"})
# Filesystems whose user knows that they have no conditional writes; and whether the buckets of others have them.
_warned: "weakref.WeakSet[Any]" = weakref.WeakSet()
_is_conditional: "weakref.WeakKeyDictionary[Any, dict[str, bool]]" = weakref.WeakKeyDictionary()
_UNSUPPORTED = frozenset({"NotImplemented", "501"})


@dataclass(frozen=True)
class Version:
    """A pointer as it was read.

    Attributes:
        content: Content of the file.
        token: Identifier of this version, by which a store knows it again.
    """

    content: bytes
    token: str


class Pointer(ABC):
    """A file that is read, created if it is absent, and replaced if it is unchanged.

    Args:
        where: Path or address of the file, for messages.
    """

    def __init__(self, where: str) -> None:
        self.where = where

    def read(self) -> Version | None:
        """Returns the present version, None if there is none.

        Raises:
            StoreError: if it can't be read.
        """
        with store_errors(self.where):
            return self._read()

    def write(self, content: bytes, previous: Version | None) -> None:
        """Writes the content, if the file is still what was read; if it has this very content, that is as good.

        Args:
            content: New content.
            previous: What `read` returned; None creates the file.

        Raises:
            ConflictError: if another process wrote it meanwhile; nothing is written.
            StoreError: if it can't be written.
        """
        with store_errors(self.where):
            if self._write(content, previous):
                return
            current = self._read()
        # A request that is repeated after a lost answer finds its own content.
        if current is None or current.content != content:
            raise ConflictError(
                f"{self.where} was changed by another process meanwhile, and nothing was written: run the command "
                "again, it goes by the present content"
            )

    @abstractmethod
    def _read(self) -> Version | None: ...

    @abstractmethod
    def _write(self, content: bytes, previous: Version | None) -> bool:
        """Writes the content; returns False, without writing, if the file is not `previous` any more."""


def open_pointer(filesystem: Any, path: str, where: str) -> Pointer:
    """Returns the pointer at a path of a filesystem of fsspec.

    Args:
        filesystem: The filesystem; whether it has conditional writes decides on the kind of pointer.
        path: Path, as the filesystem names it.
        where: The same for messages.
    """
    if isinstance(filesystem, LocalFileSystem):
        return LocalPointer(Path(path))
    protocols = (filesystem.protocol,) if isinstance(filesystem.protocol, str) else filesystem.protocol
    if "s3" in protocols:
        return S3Pointer(filesystem, path, where)
    return UnconditionalPointer(filesystem, path, where)


class LocalPointer(Pointer):
    """A file of this machine; its folder's lock is held while it is replaced."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path

    def _read(self) -> Version | None:
        try:
            return _make_version(self._path.read_bytes())
        except FileNotFoundError:
            return None

    def _write(self, content: bytes, previous: Version | None) -> bool:
        with locked(self._path.parent, f"a change of {self._path.name}", _LOCK_SECONDS):
            if self._read() != previous:
                return False
            with atomic_file(self._path) as partial:
                partial.write_bytes(content)
        return True


class UnconditionalPointer(Pointer):
    """A file of a store without conditional writes: it is read again right before it is written."""

    def __init__(self, filesystem: Any, path: str, where: str) -> None:
        super().__init__(where)
        self._filesystem, self._path = filesystem, path

    def _read(self) -> Version | None:
        try:
            return _make_version(bytes(self._filesystem.cat_file(self._path)))
        except FileNotFoundError:
            return None

    def _write(self, content: bytes, previous: Version | None) -> bool:
        if self._read() != previous:
            return False
        if self._filesystem not in _warned:
            _warned.add(self._filesystem)
            logger.warning(
                "%s: the store has no conditional writes; of two machines that change it at the same moment, the later "
                "one overwrites the other",
                self.where,
            )
        self._filesystem.pipe_file(self._path, content)
        return True


class S3Pointer(UnconditionalPointer):
    """An object of S3, which since 2024 writes on condition of an ETag.

    Servers that are compatible with S3 may lack that, and some then write whatever the condition: the first write to a
    bucket first asks the server, by one request whose condition can't hold.
    """

    def __init__(self, filesystem: Any, path: str, where: str) -> None:
        super().__init__(filesystem, path, where)
        self._bucket, self._key, _ = filesystem.split_path(path)

    def _read(self) -> Version | None:
        try:
            return Version(*fsspec.asyn.sync(self._filesystem.loop, self._get))
        except FileNotFoundError:
            return None

    async def _get(self) -> tuple[bytes, str]:
        # One request, so that the ETag is that of the content.
        response = await self._filesystem._call_s3("get_object", Bucket=self._bucket, Key=self._key)
        async with response["Body"] as body:
            return await body.read(), response["ETag"]

    def _write(self, content: bytes, previous: Version | None) -> bool:
        asked = _is_conditional.setdefault(self._filesystem, {})
        if self._bucket not in asked:
            asked[self._bucket] = self._has_conditions()
        if not asked[self._bucket]:
            return super()._write(content, previous)
        condition = {"IfNoneMatch": "*"} if previous is None else {"IfMatch": previous.token}
        try:
            self._put(self._key, content, condition)
        except OSError as error:
            if _find_code(error) in _CHANGED:
                return False
            raise
        self._filesystem.invalidate_cache(self._path)
        return True

    def _has_conditions(self) -> bool:
        probe = f"{self._key}.probe"  # never exists
        try:
            self._put(probe, b"", {"IfMatch": f'"{hashlib.md5(b"").hexdigest()}"'})
        except OSError as error:
            code = _find_code(error)
            if code in _CHANGED:
                return True
            if code in _UNSUPPORTED:
                return False
            raise
        self._filesystem.call_s3("delete_object", Bucket=self._bucket, Key=probe)
        return False

    def _put(self, key: str, content: bytes, condition: Mapping[str, str]) -> None:
        self._filesystem.call_s3("put_object", Bucket=self._bucket, Key=key, Body=content, **condition)


def _make_version(content: bytes) -> Version:
    return Version(content, hashlib.sha256(content).hexdigest())


def _find_code(error: OSError) -> str | None:
    """Returns S3's code of an error that s3fs has translated, None if it is another."""
    response = getattr(error.__cause__, "response", None)
    return str(response["Error"].get("Code")) if response else None
