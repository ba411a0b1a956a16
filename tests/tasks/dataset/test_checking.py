from pathlib import Path

import pandas as pd

from tasks.dataset.checking import check_splits
from tasks.dataset.known_splits import read_splits
from tasks.dataset.lost_splits import SplitsBackup
from tasks.model_folder import ModelFolder
from tasks.settings import DatasetSettings, Settings

FILMS = pd.DataFrame({"imdb_id": [1, 2, 3], "sha256": ["a", "b", "c"], "split": ["train", "validation", "test"]})


def make_splits_dir(tmp_path: Path, *damaged: str, whole: tuple[str, ...] = ()) -> Path:
    folder = tmp_path / "splits"
    folder.mkdir()
    for name in damaged:
        (folder / name).write_bytes(b"PAR1 and no more")
    for name in whole:
        FILMS.to_parquet(folder / name)
    return folder


def make_model(folder: Path) -> ModelFolder:
    folder.mkdir()
    model = ModelFolder(folder)
    FILMS.to_parquet(model.films_path)
    model.settings_path.write_text(Settings().model_dump_json())
    model.write_manifest({"id": folder.name})
    return model


def check(folder: Path, *models: ModelFolder) -> dict[str, str]:
    backup = SplitsBackup(models, folder.parent / "none")
    return {check.path.name: check.state for check in check_splits(folder, DatasetSettings(), backup)}


def test_damaged_splits_are_restored_where_a_model_of_their_seed_has_them(tmp_path: Path) -> None:
    folder = make_splits_dir(tmp_path, "seed-0.parquet", "seed-1.parquet", whole=("seed-2.parquet",))
    model = make_model(tmp_path / "m")
    states = {"seed-0.parquet": "mended", "seed-1.parquet": "damaged", "seed-2.parquet": "whole"}
    assert check(folder, model) == states
    assert read_splits(folder / "seed-0.parquet").equals(FILMS)
    assert (folder / "seed-1.parquet").read_bytes() == b"PAR1 and no more"
    assert check(folder) == {**states, "seed-0.parquet": "whole"}


def test_a_damaged_file_of_version_0_1_is_removed_once_its_splits_are_elsewhere(tmp_path: Path) -> None:
    folder = make_splits_dir(tmp_path, "seed-0-0.1-0.1.parquet", "seed-1-0.1-0.2.parquet")
    assert check(folder) == {"seed-0-0.1-0.1.parquet": "damaged", "seed-1-0.1-0.2.parquet": "damaged"}
    model = make_model(tmp_path / "m")
    assert check(folder, model) == {"seed-0-0.1-0.1.parquet": "removed", "seed-1-0.1-0.2.parquet": "damaged"}
    assert sorted(path.name for path in folder.iterdir()) == ["seed-0.parquet", "seed-1-0.1-0.2.parquet"]
    assert read_splits(folder / "seed-0.parquet").equals(FILMS)
