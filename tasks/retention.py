"""What runs no longer need: old results and logs under `data_dir`, and how files are removed, whole or not at all.

Posters and splits are never removed: they can't be computed again.
"""

import errno
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.atomic import remove_folder
from tasks.errors import describe_os_error
from tasks.model_folder import ModelFolder
from tasks.workspace import FolderName, Workspace

_DAY_SECONDS = 86_400
_RESULTS: tuple[FolderName, ...] = ("evaluation", "export")


@dataclass(frozen=True)
class Outdated:
    """A file or a folder that is no longer needed.

    Attributes:
        path: The file or folder.
        kind: What it is, in the plural, for the log.
    """

    path: Path
    kind: str


@dataclass(frozen=True)
class Freed:
    """What was removed.

    Attributes:
        removed: The files and folders.
        num_files: Number of files, those in the folders included.
        num_bytes: Their size.
        num_flow_runs: Number of Prefect's flow runs.
        problems: Why something was not removed, in a line each.
    """

    removed: tuple[Outdated, ...] = ()
    num_files: int = 0
    num_bytes: int = 0
    num_flow_runs: int = 0
    problems: tuple[str, ...] = ()

    def __add__(self, other: "Freed") -> "Freed":
        return Freed(
            self.removed + other.removed,
            self.num_files + other.num_files,
            self.num_bytes + other.num_bytes,
            self.num_flow_runs + other.num_flow_runs,
            self.problems + other.problems,
        )

    def describe(self) -> str:
        """Returns it in one line, such as `2 models, 1 logs: 57 files, 86.3 MB`; "nothing" if nothing was removed."""
        counts = Counter(outdated.kind for outdated in self.removed)
        if self.num_flow_runs:
            counts["flow runs"] = self.num_flow_runs
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        return f"{kinds}: {self.num_files:,} files, {self.num_bytes / 1e6:.1f} MB" if kinds else "nothing"


@dataclass(frozen=True)
class InUse:
    """What the newest model was made with, which the next run may need.

    Attributes:
        features: Name of the folder of its features.
        heads: Names of the folders of the heads that it was compared with, its own included.
    """

    features: str
    heads: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def by(cls, model: ModelFolder) -> "InUse | None":
        """Returns what a model was made with; None if it is not written down where this version reads it."""
        try:
            inputs: dict[str, Any] = model.read_metrics()["inputs"]
            heads = [*inputs["heads"], *filter(None, [inputs.get("cross_fitted")])]
            return cls(model.features, frozenset(heads))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def list_outdated(workspace: Workspace, in_use: InUse | None, keep_days: float) -> list[Outdated]:
    """Returns what was last written more than `keep_days` ago, and is not used by the newest model.

    Args:
        workspace: The files of the runs.
        in_use: What the newest model uses; None: it is not known, and only logs can be outdated.
        keep_days: Number of days; 0: everything is old.
    """
    oldest = time.time() - keep_days * _DAY_SECONDS
    # The newest log is that of the present run, or of the newest model.
    candidates = [
        *(Outdated(path, "logs") for path in sorted(workspace.folder("logs").glob("*.jsonl"))[:-1]),
        *(Outdated(folder, "TensorBoard logs") for folder in _list_folders(workspace.folder("tensorboard"))[:-1]),
    ]
    if in_use:
        heads, features = (_list_folders(workspace.folder(name)) for name in ("training", "features"))
        results = (workspace.folder(name) for name in _RESULTS)  # copies of the newest model's files
        candidates += [
            *(Outdated(folder, "trained heads") for folder in heads if folder.name not in in_use.heads),
            *(Outdated(folder, "features of other networks") for folder in features if folder.name != in_use.features),
            *(Outdated(folder, "results of the last run") for folder in results if folder.is_dir()),
        ]
    return [outdated for outdated in candidates if _last_change(outdated.path) < oldest]


def remove(outdated: Iterable[Outdated], *, dry_run: bool = False) -> Freed:
    """Removes files and folders, each whole or not at all; what can't be removed stays, and is among the problems.

    Args:
        outdated: The files and folders.
        dry_run: Whether they are only counted.
    """
    freed = Freed()
    for each in outdated:
        try:
            paths = list(_list_files(each.path))
            num_bytes = sum(path.lstat().st_size for path in paths)
            if not dry_run:
                _remove(each.path)
        except FileNotFoundError:
            continue  # another process removed it
        except OSError as error:
            freed += Freed(problems=(describe_os_error(error),))
        else:
            freed += Freed((each,), len(paths), num_bytes)
    return freed


def _remove(path: Path) -> None:
    if not path.is_dir():
        path.unlink()
        return
    # Seen to before it is renamed: half a folder would be left under a hidden name.
    for folder in (path.parent, path, *(inner for inner in path.rglob("*") if inner.is_dir())):
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    remove_folder(path)


def _list_folders(folder: Path) -> list[Path]:
    """Returns the folders in a folder; none that a user linked there, and no half-written ones."""
    return sorted(path for path in folder.glob("[!.]*/") if not path.is_symlink())


def _list_files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (inner for inner in path.rglob("*") if not inner.is_dir())
    else:
        yield path


def _last_change(path: Path) -> float:
    """Returns the time at which a file, or anything in a folder, was last written, in seconds since 1970."""
    return max((inner.lstat().st_mtime for inner in _list_files(path)), default=path.lstat().st_mtime)
