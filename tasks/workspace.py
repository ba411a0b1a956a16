"""What lies under `data_dir`: a folder for each kind of file that the stages write."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from tasks.atomic import atomic_file, remove_partials

FolderName = Literal[
    "catalog",
    "posters",
    "splits",
    "shards",
    "features",
    "training",
    "evaluation",
    "export",
    "comparison",
    "reproduction",
    "inspection",
    "tensorboard",
    "logs",
]
FOLDERS: tuple[FolderName, ...] = get_args(FolderName)


@dataclass(frozen=True)
class Workspace:
    """The files of the runs that share a `data_dir`.

    Attributes:
        data_dir: Folder with everything that runs download and compute. Creating a workspace does not create it.
    """

    data_dir: Path

    def folder(self, name: FolderName) -> Path:
        """Returns the local path of a folder, which need not exist."""
        return self.data_dir / name

    def read(self, name: str) -> bytes | None:
        """Returns the content of a file, None if it does not exist.

        Args:
            name: Path relative to `data_dir`, such as `comparison/comparison.json`.
        """
        try:
            return (self.data_dir / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Writes a file, whole or not at all, and creates its folder.

        Args:
            name: Path relative to `data_dir`.
            content: New content of the file.
        """
        with atomic_file(self.data_dir / name) as partial:
            partial.write_bytes(content)

    def clear_leftovers(self) -> None:
        """Removes what killed runs left half-written. Call it only while holding the lock of `data_dir`.

        Files and folders under other names than `FOLDERS` belong to other programs and stay.
        """
        for name in FOLDERS:
            remove_partials(self.data_dir, name)
            remove_partials(self.folder(name))
        for folder in self.folder("features").glob("*/"):  # one for each backbone and choice of layers
            remove_partials(folder)
