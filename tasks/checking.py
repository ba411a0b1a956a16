"""Whether files are still what was written: hashes beside them, and the exceptions that mean damage.

A damaged file that a stage can make again is removed with one warning; see `tasks.errors.RepairedError` for those of
earlier stages.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import pyarrow as pa

from tasks.atomic import remove_folder
from tasks.errors import one_line
from tasks.hashing import describe_file, find_damage

logger = logging.getLogger(__name__)

CHECKSUMS = "checksums.json"


class DamagedFileError(Exception):
    """A file is missing or damaged. The reader's caller repairs it: this error never reaches a user.

    Attributes:
        path: The file.
        problem: What is wrong, as the predicate of a sentence, such as `is missing`.
    """

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} {problem}")
        self.path = path
        self.problem = problem


@dataclass(frozen=True)
class FileCheck:
    """The result of checking one file or folder.

    Attributes:
        path: The file or folder.
        state: `whole`; `mended`, it is whole again; `removed`, the next run makes it again; `damaged`, the user has to
            decide; `unchecked`, an earlier version wrote it without hashes, or it is in the store alone.
        reason: What was wrong, and what was done or is to be done; empty if it is whole.
    """

    path: Path
    state: Literal["whole", "mended", "removed", "damaged", "unchecked"]
    reason: str = ""

    @classmethod
    def of_stored(cls, path: Path) -> Self:
        """Returns the result for a file that is not here: hashes are compared when it is copied."""
        return cls(path, "unchecked", "it is in the store alone")


def check_file(path: Path, expected: Mapping[str, Any], *, with_hash: bool = True) -> None:
    """Compares a file with its description, as `find_damage` does.

    Raises:
        DamagedFileError: If it is missing or differs.
    """
    if problem := find_damage(path, expected, with_hash=with_hash):
        raise DamagedFileError(path, problem)


def write_checksums(folder: Path) -> None:
    """Writes `checksums.json` with the description of every other file of a folder and its subfolders."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CHECKSUMS)
    described = {path.relative_to(folder).as_posix(): describe_file(path) for path in files}
    (folder / CHECKSUMS).write_text(json.dumps(described, indent=2) + "\n", "utf-8")


def has_checksums(folder: Path) -> bool:
    """Whether `write_checksums` was called for a folder: earlier versions did not."""
    return (folder / CHECKSUMS).is_file()


def check_folder(folder: Path) -> None:
    """Compares the files of a folder with its `checksums.json`; files that it does not name are ignored.

    Raises:
        DamagedFileError: If one is missing or differs, or `checksums.json` can't be read; names the first.
    """
    path = folder / CHECKSUMS
    try:
        described = json.loads(path.read_text("utf-8"))
        expected = {folder / name: (str(file["sha256"]), int(file["num_bytes"])) for name, file in described.items()}
    except FileNotFoundError:
        raise DamagedFileError(path, "is missing") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(path, f"is damaged ({one_line(error)})") from error
    for file, (sha256, num_bytes) in expected.items():
        check_file(file, {"sha256": sha256, "num_bytes": num_bytes})


def is_whole(folder: Path) -> bool:
    """Whether a folder has its checksums and `check_folder` finds it whole; a warning tells that it is damaged."""
    if not has_checksums(folder):  # it does not exist, or an earlier version wrote it
        return False
    try:
        check_folder(folder)
    except DamagedFileError as error:
        logger.warning("%s: %s is made again", error, folder)
        return False
    return True


def check_result(folder: Path) -> FileCheck:
    """Checks the folder of a stage's result with `check_folder`, and removes it if it is damaged.

    A folder without `checksums.json` is left as it is: the next run that needs it makes it again.
    """
    if not has_checksums(folder):
        return FileCheck(folder, "unchecked", f"it has no {CHECKSUMS}: a run that needs it makes it again")
    try:
        check_folder(folder)
    except DamagedFileError as error:
        remove_folder(folder)
        return FileCheck(folder, "removed", f"{error}: the next run makes the folder again")
    return FileCheck(folder, "whole")


@contextmanager
def parquet_damage(path: Path) -> Iterator[None]:
    """Turns the exceptions of pyarrow for a missing or damaged Parquet file into `DamagedFileError`."""
    try:
        yield
    except (pa.ArrowException, ValueError, KeyError) as error:
        raise DamagedFileError(path, f"is damaged ({one_line(error)})") from error
    except FileNotFoundError as error:
        raise DamagedFileError(path, "is missing") from error
    except OSError as error:
        # Parquet's own errors, such as a wrong checksum of a page, are plain and have no number. Those of the system
        # say nothing about the content.
        if error.errno is not None or type(error) is not OSError:
            raise
        raise DamagedFileError(path, f"is damaged ({one_line(error)})") from error
