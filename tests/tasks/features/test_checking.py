from pathlib import Path

import numpy as np

from tasks.features.cache import view_folder, write_features
from tasks.features.checking import check_features
from tasks.storage.folders import StoredFolder


def test_every_file_is_read_but_those_in_a_store_alone(tmp_path: Path) -> None:
    folder = StoredFolder(str(tmp_path / "store"), tmp_path / "features", "**/*.parquet")
    folder.pull()
    of_network = folder.folder / "network"
    whole = write_features(of_network, ["a"], np.ones((1, 7), np.float32))
    damaged = write_features(view_folder(of_network, 1), ["b"], np.ones((1, 7), np.float32))
    stored = write_features(of_network, ["c"], np.ones((1, 7), np.float32))
    folder.commit(dict.fromkeys(folder.list_files()))
    stored.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-30])
    checks = {check.path: check for check in check_features(folder.folder)}
    assert {path: check.state for path, check in checks.items()} == {
        whole: "whole",
        stored: "unchecked",
        damaged: "removed",
    }
    assert checks[stored].reason == "it is in the store alone"
    assert "the next run extracts the features of its images again" in checks[damaged].reason
    # It is removed from the store, too, by the next commit.
    assert folder.list_all_files() == sorted(f"network/{path.name}" for path in (whole, stored))
