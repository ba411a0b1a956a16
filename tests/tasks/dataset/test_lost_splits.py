import json
import logging
from pathlib import Path

import pandas as pd
import pytest

from tasks.checking import describe_file
from tasks.dataset.description import describe_dataset, write_description
from tasks.dataset.lost_splits import SplitsBackup, find_known_splits
from tasks.dataset.splits import name_splits_file, read_splits
from tasks.errors import DatasetError
from tasks.model_folder import ModelFolder
from tasks.settings import DatasetSettings, Settings

FILMS = pd.DataFrame(
    {"imdb_id": [1, 2, 3], "sha256": ["a", "b", "c"], "split": ["train", "validation", "test"], "title": "T"}
)
SETTINGS = DatasetSettings()
NAME = name_splits_file(SETTINGS, seed=0)


def make_champion(folder: Path, films: pd.DataFrame = FILMS, settings: Settings | None = None) -> ModelFolder:
    folder.mkdir()
    model = ModelFolder(folder)
    films.to_parquet(model.films_path)
    model.settings_path.write_text((settings or Settings()).model_dump_json())
    model.write_manifest({"id": folder.name})
    return model


def write_dataset(folder: Path, films: pd.DataFrame, seed: int = 0) -> None:
    folder.mkdir()
    films.to_parquet(folder / "films.parquet")
    described = films.assign(year=1990, score=5.0, genres=[["Drama"]] * len(films), targets=[[1]] * len(films))
    description = describe_dataset(
        described,
        genres=["Drama"],
        genre_counts={},
        num_films_without_label=0,
        shard_fingerprints={},
        settings=SETTINGS,
        seed=seed,
    )
    write_description({**description, "films": describe_file(folder / "films.parquet")}, folder)


def damage(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"PAR1 and no more")


def as_dict(films: pd.DataFrame) -> dict[int, tuple[str, str]]:
    return {
        imdb_id: (sha256, split)
        for imdb_id, sha256, split in zip(films["imdb_id"], films["sha256"], films["split"], strict=True)
    }


@pytest.mark.parametrize("is_missing", [True, False])
def test_the_champion_s_films_give_lost_splits_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_missing: bool
) -> None:
    path = tmp_path / "splits" / NAME
    if not is_missing:
        damage(path)
    champion = make_champion(tmp_path / "m")
    found = find_known_splits(path, SplitsBackup(champion, tmp_path / "none"))
    assert as_dict(found) == as_dict(FILMS) == as_dict(read_splits(path))
    (message,) = caplog.messages
    assert message.startswith(f"{path} is {'missing' if is_missing else 'damaged'}")
    assert message.endswith(f": the splits of 3 films are restored from {champion.films_path}")
    caplog.clear()
    assert as_dict(find_known_splits(path, SplitsBackup(None, tmp_path / "none"))) == as_dict(FILMS)
    assert caplog.messages == []


def test_films_that_the_champion_lacks_come_from_the_data_set(tmp_path: Path) -> None:
    newer = pd.DataFrame(
        {"imdb_id": [3, 4, 5], "sha256": ["c", "d", "e"], "split": ["train", "test", "validation"], "title": "T"}
    )
    write_dataset(tmp_path / "shards", newer)
    champion = make_champion(tmp_path / "m")
    found = find_known_splits(tmp_path / NAME, SplitsBackup(champion, tmp_path / "shards"))
    # What the champion was tested on stays in the test split.
    assert as_dict(found) == as_dict(FILMS) | {4: ("d", "test"), 5: ("e", "validation")}


def test_a_first_run_has_no_splits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = find_known_splits(tmp_path / NAME, SplitsBackup(None, tmp_path / "none"))
    assert (len(found), list(found)) == (0, ["imdb_id", "sha256", "split"])
    assert caplog.messages == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("settings", [Settings(seed=1), Settings(dataset=DatasetSettings(test_fraction=0.2))])
def test_splits_of_another_seed_or_fraction_are_no_backup(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "splits" / NAME
    champion = make_champion(tmp_path / "m", settings=settings)
    write_dataset(tmp_path / "shards", FILMS, seed=2)
    backup = SplitsBackup(champion, tmp_path / "shards")
    assert find_known_splits(path, backup).empty
    damage(path)
    with pytest.raises(DatasetError, match=rf"{NAME} is damaged .*Restore the file from a backup; or remove it"):
        find_known_splits(path, backup)
    assert path.read_bytes() == b"PAR1 and no more"


@pytest.mark.parametrize("name", ["films.parquet", "settings.json"])
def test_a_damaged_champion_is_no_backup(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    caplog.set_level(logging.INFO)
    champion = make_champion(tmp_path / "m")
    (champion.path / name).write_bytes(b"{")
    damage(tmp_path / "splits" / NAME)
    with pytest.raises(DatasetError, match="no whole champion with the same seed and fractions has them"):
        find_known_splits(tmp_path / "splits" / NAME, SplitsBackup(champion, tmp_path / "none"))
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(str(champion.path / name))


def test_a_champion_of_an_earlier_version_of_the_settings_is_read(tmp_path: Path) -> None:
    champion = make_champion(tmp_path / "m")
    settings = json.loads(champion.settings_path.read_text())
    settings["dataset"]["a_setting_that_is_gone"] = 1
    champion.settings_path.write_text(json.dumps(settings))
    found = find_known_splits(tmp_path / NAME, SplitsBackup(champion, tmp_path / "none"))
    assert len(found) == 3
