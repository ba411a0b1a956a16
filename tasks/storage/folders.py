"""A folder of a `data_dir` whose files are kept in a store: `<folder>.json` there names them, each is an object.

Objects are immutable: their names hold the hashes of their content. The manifest is replaced as a whole, and only if it
is still what was read, so that it is the one thing that runs on several machines can disagree about. What it does not
name is garbage. The local folder is a copy: some files may be missing there and are read from the store; others are
newer, until `commit`.
"""

import contextlib
import functools
import io
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from tasks.atomic import atomic_file, write_text
from tasks.errors import ConflictError, DamagedObjectError, SettingsError, StoreError, one_line
from tasks.hashing import describe_file, find_damage
from tasks.storage.objects import ObjectStore
from tasks.storage.pointer import Pointer, Version
from tasks.storage.temporary import temporary_folder

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

# Beside the folders: a folder may be replaced as a whole.
_COPIES = ".stored"
_TRANSFERS = 8
# Levels of folders from a file up to the folder that is a copy: features are in a folder for each way and each view.
_MAX_DEPTH = 3
# A smaller JSON file is in the manifest: a request takes longer than its content.
_INLINE_BYTES = 16_384


class StoredFile(BaseModel):
    """A file of a manifest.

    Attributes:
        sha256: Hash of the file, hexadecimal.
        num_bytes: Size of the file.
        text: Content of a small JSON file; None: it is an object, see `name_object`.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    num_bytes: int = Field(ge=0)
    text: str | None = None

    def describe(self) -> dict[str, Any]:
        """Returns the `sha256` and `num_bytes`, as `tasks.hashing.describe_file` does."""
        return {"sha256": self.sha256, "num_bytes": self.num_bytes}


class Manifest(BaseModel):
    """The files of a folder.

    Attributes:
        generation: How often the manifest was committed.
        files: The files, by their paths in the folder.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    version: Literal[1] = 1
    generation: int = Field(0, ge=0)
    files: dict[str, StoredFile] = {}

    @field_validator("files")
    @classmethod
    def _check_names(cls, files: dict[str, StoredFile]) -> dict[str, StoredFile]:
        # Whoever writes to the store must not write elsewhere on the machines that read it.
        for name in files:
            parts = PurePosixPath(name).parts
            if not parts or PurePosixPath(name).is_absolute() or ".." in parts or "\\" in name or "\0" in name:
                raise ValueError(f"{name!r} is no path in the folder")
        return files


class _Copy(BaseModel):
    """What a local folder is a copy of, `.stored/<folder>.json`.

    Attributes:
        address: Address of the store.
        manifest: The manifest as it was when the copy was brought up to date, or committed.
        sent: Files that are objects of the store, sent by workers, and in no manifest yet.
        removed: Paths of files that the next manifest will not name.
    """

    model_config = ConfigDict(frozen=True)

    address: str
    manifest: Manifest
    sent: dict[str, StoredFile] = {}
    removed: frozenset[str] = frozenset()

    def find(self, name: str) -> StoredFile | None:
        """Returns the file of the store with this path in the folder, None if there is none."""
        return None if name in self.removed else self.sent.get(name) or self.manifest.files.get(name)

    def list_names(self) -> list[str]:
        """Returns the paths of all files of the store, sorted."""
        return sorted({*self.manifest.files, *self.sent} - self.removed)


def name_object(name: str, sha256: str) -> str:
    """Returns the name of the object of a file: that of the file with the start of its hash, if it has none.

    Args:
        name: Path of the file in its folder, with a suffix.
        sha256: Hash of the file, hexadecimal.
    """
    stem, _, suffix = name.rpartition(".")
    return name if stem.endswith(f"-{sha256[:16]}") else f"{stem}-{sha256[:16]}.{suffix}"


def _locate(folder: Path, name: str, file: StoredFile) -> str:
    """Returns the name in the store of a file of a folder."""
    return f"{folder.name}/{name_object(name, file.sha256)}"


class StoredFolder:
    """A folder whose files are kept in a store. One process of a machine at a time may use it.

    Args:
        address: Address of the store.
        folder: Local copy; the store's manifest and objects have the name of this folder.
        pattern: Glob pattern of the files that belong to it; others in the local folder stay here, as they are.
    """

    def __init__(self, address: str, folder: Path, pattern: str = "**/*") -> None:
        self.address = address
        self.folder = folder
        self.name = folder.name
        self._pattern = pattern

    @cached_property
    def store(self) -> ObjectStore:
        return ObjectStore(self.address)

    @cached_property
    def _pointer(self) -> Pointer:
        return self.store.pointer(f"{self.name}.json")

    @property
    def generation(self) -> int:
        """Generation of the manifest that this copy is of; 0 if there is none yet."""
        return self._read_copy().manifest.generation

    def pull(self, is_wanted: Callable[[str], bool] = lambda _: True) -> None:
        """Brings the local copy up to date, if another machine committed since; else it is left as it is.

        What an interrupted run of this machine did not commit is kept in the latter case only. Files that are missing
        here are fetched in both.

        Args:
            is_wanted: Whether a file, by its path, is copied; the others are read from the store, and their folders
                are made.

        Raises:
            SettingsError: The folder is no copy of this store.
            StoreError: The store can't be read, or an object is not what the manifest says.
        """
        manifest = self._read()[1]
        copy = self._find_copy()
        base = copy.manifest if copy else Manifest()
        wanted = {name: file for name, file in manifest.files.items() if is_wanted(name)}
        if manifest != base:
            outdated = [name for name in self.list_files() if _differs(self.folder / name, manifest.files.get(name))]
            if outdated and not base.generation:
                raise SettingsError(
                    f"{self.folder} has files, and {self.store.describe(self.name)} has others: expected a new "
                    "data_dir, or a store without data"
                )
            self._remove(outdated, base)
        self._fetch_missing(wanted)
        self._make_folders(manifest.files)
        if copy is None or manifest != base:
            self._write_copy(manifest)

    def adopt(self, sent: Mapping[str, StoredFile]) -> None:
        """Takes files over that workers have sent to the store: they can be read, and committed.

        Args:
            sent: The files, by their paths.
        """
        copy = self._read_copy()
        self._make_folders(sent)
        self._write_copy(copy.manifest, {**copy.sent, **sent}, copy.removed.difference(sent))

    def _make_folders(self, names: Iterable[str]) -> None:
        for folder in {(self.folder / name).parent for name in names}:
            folder.mkdir(parents=True, exist_ok=True)

    def list_files(self) -> list[str]:
        """Returns the paths of the local files that belong to the folder, sorted."""
        found = (path for path in self.folder.glob(self._pattern) if path.is_file() and not path.name.startswith("."))
        return sorted(path.relative_to(self.folder).as_posix() for path in found)

    def list_all_files(self) -> list[str]:
        """Returns the paths of the local files, and of those in the store alone whose folders are here, sorted.

        A folder that was removed here is removed from the store by the next commit.
        """
        stored = (name for name in self._read_copy().list_names() if (self.folder / name).parent.is_dir())
        return sorted({*self.list_files(), *stored})

    def remove_garbage(self, keep_days: float) -> list[str]:
        """Removes the objects that the manifest does not name, and returns their names.

        Args:
            keep_days: Minimum age in days: a run on another machine may read an earlier manifest's objects, or is about
                to commit new ones.

        Raises:
            StoreError: The store can't be listed or written, or kept some of them.
        """
        known = {name_object(name, file.sha256) for name, file in self._read()[1].files.items()}
        oldest = time.time() - keep_days * 86_400
        garbage = [
            name for name, written_at in self.store.list_times(self.name) if name not in known and written_at < oldest
        ]
        if garbage:
            self.store.remove_all(f"{self.name}/{name}" for name in garbage)
            present = {name for name, _ in self.store.list_times(self.name)}
            if kept := [name for name in garbage if name in present]:
                raise StoreError(
                    f"{self.store.describe(self.name)}: {len(kept)} objects that no manifest names were not removed, "
                    f"{kept[0]} among them: check the permission to delete objects"
                )
        return garbage

    def commit(self, files: Mapping[str, StoredFile | None]) -> bool:
        """Makes these the files of the store's folder: new ones are sent, then the manifest is replaced.

        Args:
            files: All files of the folder, by their paths; their description, where it is known already. One that is
                missing here must be in the store.

        Returns:
            Whether anything changed.

        Raises:
            ConflictError: Another machine committed since the copy was brought up to date; nothing is changed.
            StoreError: The store can't be written.
        """
        version, present = self._read()
        copy = self._read_copy()
        base = copy.manifest
        if present != base:
            raise ConflictError(
                f"{self._pointer.where} was changed by another run meanwhile, and nothing was written: run again, it "
                "goes on from there"
            )
        described = self._describe(files, copy)
        if described == base.files and not copy.removed.intersection(described):
            return False
        send_files(self.store, self.folder, self._select_new(described, copy))
        manifest = Manifest(generation=base.generation + 1, files=described)
        # Before the manifest, so that a process that is killed in between finds a copy of this store.
        self._write_copy(base, copy.sent, copy.removed)
        self._pointer.write(manifest.model_dump_json(exclude_none=True).encode(), version)
        self._write_copy(manifest)
        return True

    def _read(self) -> tuple[Version | None, Manifest]:
        version = self._pointer.read()
        try:
            return version, Manifest.model_validate_json(version.content) if version else Manifest()
        except ValidationError as error:
            raise StoreError(
                f"{self._pointer.where} is damaged, or of another version ({one_line(error)}): expected the manifest "
                "of a folder; install the version that wrote it, or use another store"
            ) from None

    def send_missing(self, files: Mapping[str, StoredFile | None]) -> None:
        """Sends the files that are here alone, for workers that read them from the store; they are committed later.

        Args:
            files: Files of the folder, as `commit` takes them.

        Raises:
            StoreError: The store can't be written.
        """
        copy = self._read_copy()
        here = {name: known for name, known in files.items() if (self.folder / name).exists()}
        new = {name: file for name, file in self._describe(here, copy).items() if copy.find(name) != file}
        send_files(self.store, self.folder, new)
        self.adopt({name: file for name, file in new.items() if file.text is None})

    def _select_new(self, described: Mapping[str, StoredFile], copy: _Copy) -> dict[str, StoredFile]:
        """Returns the files that are not in the store yet.

        What workers have sent is looked for: no manifest names it, and it may be garbage that was removed.

        Raises:
            StoreError: One of those is not there, and not here either.
        """
        # What was removed here and made again may have been damaged there.
        known = {
            name_object(name, file.sha256) for name, file in copy.manifest.files.items() if name not in copy.removed
        }
        new = {name: file for name, file in described.items() if name_object(name, file.sha256) not in known}
        sent = [name for name, file in new.items() if copy.sent.get(name) == file]
        sizes = self.store.list_sizes(self.name) if sent else {}
        for name in sent:
            if sizes.get(name_object(name, new[name].sha256)) == new[name].num_bytes:
                del new[name]
            elif not (self.folder / name).exists():
                source = self.store.describe(_locate(self.folder, name, new[name]))
                raise StoreError(f"{source} is missing, which a worker sent: run again, to make it again")
        return new

    def _remove(self, outdated: Sequence[str], base: Manifest) -> None:
        """Removes local files that the store's manifest does not name, or names with another content."""
        for name in outdated:
            (self.folder / name).unlink()
        if uncommitted := [name for name in outdated if name not in base.files]:
            logger.warning(
                "%s: %d files that an interrupted run had not committed are removed, %s among them: another run has "
                "committed since",
                self.folder,
                len(uncommitted),
                uncommitted[0],
            )

    def _fetch_missing(self, wanted: Mapping[str, StoredFile]) -> None:
        missing = {name: file for name, file in wanted.items() if not (self.folder / name).exists()}
        if missing:
            fetch_files(self.store, self.folder, missing)
            where = self.store.describe(self.name)
            logger.info("storage: %s: %d files fetched, %d kept", where, len(missing), len(wanted) - len(missing))

    def _describe(self, files: Mapping[str, StoredFile | None], copy: _Copy) -> dict[str, StoredFile]:
        described = {}
        for name, known in files.items():
            path = self.folder / name
            if path.exists():
                described[name] = _describe_file(path, known)
            elif stored := copy.find(name):
                described[name] = stored
            else:
                raise StoreError(f"{path} does not exist, and the store has no such file: run again, to make it again")
        return described

    def _find_copy(self) -> _Copy | None:
        copy = read_copy(self.folder)
        if copy and copy.address != self.address:
            raise SettingsError(
                f"{self.folder} is a copy of {copy.address}, and the store is {self.address}: expected the same store, "
                "or another data_dir"
            )
        return copy

    def _read_copy(self) -> _Copy:
        return self._find_copy() or _Copy(address=self.address, manifest=Manifest())

    def _write_copy(
        self, manifest: Manifest, sent: Mapping[str, StoredFile] | None = None, removed: Iterable[str] = ()
    ) -> None:
        copy = _Copy(address=self.address, manifest=manifest, sent=dict(sent or {}), removed=frozenset(removed))
        _write_copy(self.folder, copy)


def read_copy(folder: Path) -> _Copy | None:
    """Returns what a local folder is a copy of; None if it is none."""
    path = _copy_path(folder)
    try:
        return _read_copy(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        return None


@functools.lru_cache(maxsize=16)
def _read_copy(path: Path, _: int) -> _Copy:
    # Its time is an argument so that a changed file is read again: a folder's files are opened by the thousand.
    return _Copy.model_validate_json(path.read_bytes())


def _write_copy(folder: Path, copy: _Copy) -> None:
    write_text(_copy_path(folder), copy.model_dump_json(exclude_none=True))


def find_stored_folder(folder: Path, pattern: str = "**/*") -> StoredFolder | None:
    """Returns the folder of the store that a local folder is a copy of; None if it is none."""
    copy = read_copy(folder)
    return StoredFolder(copy.address, folder, pattern) if copy else None


def find_stored(path: Path) -> StoredFile | None:
    """Returns the description of a file that is not here, but in the store whose copy its folder is.

    Args:
        path: Path of a file in a folder that may be a copy.

    Returns:
        None if the file is here, or in no store.
    """
    found = _find_in_store(path)
    return found.file if found else None


@dataclass(frozen=True)
class _Place:
    """Where a file is in a store: the copy of its folder, that folder, its path there, and its description."""

    copy: _Copy
    folder: Path
    name: str
    file: StoredFile


def _find_in_store(path: Path) -> _Place | None:
    """Returns the place of what `find_stored` returns."""
    found = None if path.exists() else _find_root(path.parent)
    if found is None:
        return None
    root, copy = found
    name = path.relative_to(root).as_posix()
    file = copy.find(name)
    return _Place(copy, root, name, file) if file else None


def _find_root(folder: Path) -> tuple[Path, _Copy] | None:
    """Returns the copy that a folder is, or is in, and what it is a copy of; None if there is none."""
    for root in [folder, *folder.parents][:_MAX_DEPTH]:
        if copy := read_copy(root):
            return root, copy
    return None


def list_stored(folder: Path) -> list[Path]:
    """Returns the paths of the files directly in a folder, one of a copy or the copy itself, that the store has."""
    found = _find_root(folder)
    if found is None:
        return []
    root, copy = found
    return [path for name in copy.list_names() if (path := root / name).parent == folder]


def fetch_stored(path: Path) -> None:
    """Copies a file that is in the store alone, see `find_stored`; else nothing is done.

    Raises:
        StoreError: The store can't be read.
    """
    if found := _find_in_store(path):
        fetch_files(ObjectStore(found.copy.address), found.folder, {found.name: found.file})


def open_stored(path: Path) -> Path | io.RawIOBase:
    """Returns where a file can be read: its path, or, if it is in a store alone, the object, of which ranges are read.

    Args:
        path: Path of a file in a folder that may be a copy.
    """
    found = _find_in_store(path)
    if found is None:
        return path
    source = _locate(found.folder, found.name, found.file)
    return ObjectStore(found.copy.address).open(source, found.file.num_bytes)


def remove_stored(path: Path) -> None:
    """Removes a file: here, and by the next commit from the store whose copy its folder is.

    Args:
        path: Path of a file in a folder that may be a copy; it need not exist.
    """
    path.unlink(missing_ok=True)
    if found := _find_in_store(path):
        copy = found.copy.model_copy(update={"removed": found.copy.removed | {found.name}})
        _write_copy(found.folder, copy)


@contextmanager
def staged_folder(address: str, name: str, files: Mapping[str, StoredFile]) -> Iterator[StoredFolder]:
    """Yields an empty local folder, for a worker, in which files of a store can be read, and removes it afterwards.

    Args:
        address: Address of the store.
        name: Name of the folder in the store.
        files: The files that are read, by their paths.
    """
    with temporary_folder() as parent:
        staged = StoredFolder(address, parent / name)
        staged.folder.mkdir()
        staged.adopt(files)
        yield staged


def send_files(store: ObjectStore, folder: Path, files: Mapping[str, StoredFile]) -> None:
    """Sends files to the objects that they are in a store, several at a time.

    Args:
        store: The store.
        folder: Folder of the files.
        files: Files by their paths in the folder; those with a text are no objects.

    Raises:
        StoreError: The store can't be written.
    """
    objects = [(name, file) for name, file in files.items() if file.text is None]
    transfer_all(lambda one: store.send(folder / one[0], _locate(folder, *one)), objects, _TRANSFERS)


def fetch_files(store: ObjectStore, folder: Path, files: Mapping[str, StoredFile]) -> None:
    """Copies files out of a store, several at a time; each appears whole or not at all.

    Args:
        store: The store.
        folder: Folder of the files.
        files: Files by their paths in the folder.

    Raises:
        DamagedObjectError: An object is missing or has another hash.
        StoreError: The store can't be read.
    """
    transfer_all(lambda one: _fetch_file(store, folder, *one), files.items(), _TRANSFERS)


def _fetch_file(store: ObjectStore, folder: Path, name: str, file: StoredFile) -> None:
    source = _locate(folder, name, file)
    with atomic_file(folder / name) as partial:
        if file.text is not None:
            partial.write_text(file.text, "utf-8")
        else:
            with contextlib.suppress(FileNotFoundError):  # then it is missing here, too
                store.fetch(source, file.num_bytes, partial)
        if problem := find_damage(partial, file.describe()):
            message = (
                f"{store.describe(source)} {problem}: expected what was committed; bring that object back, or start "
                "with another store"
            )
            raise DamagedObjectError(message, name, problem)


def transfer_all(transfer: Callable[[Item], object], items: Iterable[Item], at_once: int) -> None:
    """Makes several transfers at a time, and no more of them after the first error, which is raised.

    Args:
        transfer: Function that makes one.
        items: What is transferred.
        at_once: Number of transfers at a time.
    """
    with ThreadPoolExecutor(at_once, "transfer") as threads:
        running = [threads.submit(transfer, item) for item in items]
        try:
            for done in running:
                done.result()
        except BaseException:  # an interrupt, too
            threads.shutdown(cancel_futures=True)
            raise


def _describe_file(path: Path, known: StoredFile | None) -> StoredFile:
    if known and path.stat().st_size == known.num_bytes:
        return known
    described = describe_file(path)
    is_inline = path.suffix == ".json" and described["num_bytes"] <= _INLINE_BYTES
    return StoredFile(**described, text=path.read_text("utf-8") if is_inline else None)


def _differs(path: Path, file: StoredFile | None) -> bool:
    if file is None:
        return True
    # A name with the hash of the content is that of one content only.
    with_hash = name_object(path.name, file.sha256) != path.name
    return bool(find_damage(path, file.describe(), with_hash=with_hash))


def _copy_path(folder: Path) -> Path:
    return folder.parent / _COPIES / f"{folder.name}.json"
