"""Whether the files of features are still those that were written."""

from pathlib import Path

from tasks.checking import DamagedFileError, FileCheck, check_result
from tasks.features.cache import check_features_file, list_files, list_view_folders, remove_damaged
from tasks.storage.folders import find_stored


def check_features(features_dir: Path) -> list[FileCheck]:
    """Reads every file of features, and those joined with films, and removes those that are damaged.

    Args:
        features_dir: Folder with a folder for each way of computing features.
    """
    checks = []
    folders = [view for folder in sorted(features_dir.glob("[!.]*/")) for view in list_view_folders(folder)]
    for folder in folders:
        for path in list_files(folder):
            if find_stored(path):
                checks.append(FileCheck.of_stored(path))
                continue
            try:
                check_features_file(path)
            except DamagedFileError as error:
                remove_damaged(error)
                reason = f"{error}: the next run extracts the features of its images again"
                checks.append(FileCheck(path, "removed", reason))
            else:
                checks.append(FileCheck(path, "whole"))
        checks += [check_result(joined) for joined in sorted(folder.glob("gathered-*/"))]
    return checks
