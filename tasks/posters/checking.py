"""Check all files of the poster parts, and mend them."""

from pathlib import Path

from tasks.checking import DamagedFileError, FileCheck, check_file
from tasks.posters.segments import list_parts, read_num_parts
from tasks.storage.folders import find_stored


def check_posters(folder: Path) -> list[FileCheck]:
    """Checks each segment against its hash; of a damaged one the posters that are whole are kept.

    The next run downloads the others. Manifests that can't be read are made again.

    Args:
        folder: Folder of the poster parts.
    """
    read_num_parts(folder)  # mends ledger.json, and takes over the parts of version 0.1
    checks = []
    for part in list_parts(folder):
        for segment in part.segments():
            path = folder / segment.name
            if find_stored(path):
                checks.append(FileCheck.of_stored(path))
                continue
            try:
                check_file(path, segment.model_dump())
            except DamagedFileError as error:
                kept = part.repair(path, error.problem)
                state = f"{error.problem}: what is whole is in {kept[0].name}" if kept else error.problem
                checks.append(FileCheck(path, "removed", f"{state}; the next run downloads the rest"))
            else:
                checks.append(FileCheck(path, "whole"))
    return checks
