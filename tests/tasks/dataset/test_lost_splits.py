import json
import logging
from pathlib import Path

import pandas as pd
import pytest

from tasks.dataset.description import describe_dataset, write_description
from tasks.dataset.known_splits import name_splits_file, read_splits
from tasks.dataset.lists import make_categories
from tasks.dataset.lost_splits import SplitsBackup, find_known_splits
from tasks.errors import DatasetError
from tasks.hashing import describe_file
from tasks.model_folder import ModelFolder
from tasks.settings import DatasetSettings, Settings

FILMS = pd.DataFrame(
    {"imdb_id": [1, 2, 3], "sha256": ["a", "b", "c"], "split": ["train", "validation", "test"], "title": "T"}
)
SETTINGS = DatasetSettings()
NAME = name_splits_file(seed=0)
EARLIER_NAME = "seed-0-0.1-0.1.parquet"  # of version 0.1


def make_model(folder: Path, films: pd.DataFrame = FILMS, settings: Settings | None = None) -> ModelFolder:
    folder.mkdir()
    model = ModelFolder(folder)
    films.to_parquet(model.films_path)
    model.settings_path.write_text((settings or Settings()).model_dump_json())
    model.write_manifest({"id": folder.name})
    return model


def find(splits_dir: Path, *models: ModelFolder, dataset: str = "none") -> pd.DataFrame:
    """Splits of seed 0: `dataset` is the name of the data set's folder, beside that of the splits."""
    return find_known_splits(splits_dir, SETTINGS, 0, SplitsBackup(models, splits_dir.parent / dataset))


def make_films(**splits: str) -> pd.DataFrame:
    """Films with the numbers 1, 2, 3 ... for the images a, b, c ..."""
    ids = [ord(image[0]) - ord("a") + 1 for image in splits]
    return pd.DataFrame({"imdb_id": ids, "sha256": list(splits), "split": list(splits.values()), "title": "T"})


def write_dataset(folder: Path, films: pd.DataFrame, seed: int = 0) -> None:
    folder.mkdir()
    films.to_parquet(folder / "films.parquet")
    described = films.assign(year=1990, score=5.0, genres=[["Drama"]] * len(films))
    described["targets"] = make_categories([0] * len(films), [(1,)])
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
    champion = make_model(tmp_path / "m")
    found = find(path.parent, champion)
    assert as_dict(found) == as_dict(FILMS) == as_dict(read_splits(path))
    (message,) = caplog.messages
    assert message.startswith(f"{path} is {'missing' if is_missing else 'damaged'}")
    assert message.endswith(f": the splits of 3 films are restored from {champion.films_path}")
    caplog.clear()
    before = path.stat().st_mtime_ns
    for models in ([], [champion]):
        assert as_dict(find(path.parent, *models)) == as_dict(FILMS)
    assert path.stat().st_mtime_ns == before
    assert caplog.messages == []


def test_films_that_the_champion_lacks_come_from_the_data_set(tmp_path: Path) -> None:
    write_dataset(tmp_path / "shards", make_films(c="train", d="test", e="validation"))
    found = find(tmp_path / "splits", make_model(tmp_path / "m"), dataset="shards")
    # What the champion was tested on stays in the test split.
    assert as_dict(found) == as_dict(FILMS) | {4: ("d", "test"), 5: ("e", "validation")}


def test_the_data_set_comes_before_models_that_are_not_champion(tmp_path: Path) -> None:
    write_dataset(tmp_path / "shards", make_films(a="train", b="validation", d="test"))
    other = make_model(tmp_path / "m0", make_films(d="train", e="train"))
    found = find(tmp_path / "splits", make_model(tmp_path / "m1"), other, dataset="shards")
    assert as_dict(found) == as_dict(FILMS) | {4: ("d", "test"), 5: ("e", "train")}


def test_films_that_the_champion_lacks_come_from_the_other_models_newest_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    champion = make_model(tmp_path / "m1")
    # A model that did not become champion, with films that came later; and one of earlier films, long gone.
    newer = make_model(tmp_path / "m2", make_films(a="test", d="test", e="validation"))
    older = make_model(tmp_path / "m0", make_films(d="train", f="train"))
    found = find(tmp_path / "splits", champion, newer, older)
    assert as_dict(found) == as_dict(FILMS) | {4: ("d", "test"), 5: ("e", "validation"), 6: ("f", "train")}
    (message,) = caplog.messages
    paths = " and ".join(str(model.films_path) for model in (champion, newer, older))
    assert message.endswith(f"the splits of 6 films are restored from {paths}")


def test_films_that_the_file_lacks_have_the_champion_s_split(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "splits" / NAME
    find(path.parent, make_model(tmp_path / "m1"))
    caplog.clear()
    # Another machine made it: this one knows a better, and has never seen d.
    other = make_model(tmp_path / "m2", make_films(a="test", d="validation"))
    older = make_model(tmp_path / "m0", make_films(e="test"))
    assert as_dict(find(path.parent, other, older)) == as_dict(FILMS) | {4: ("d", "validation")}
    assert as_dict(read_splits(path)) == as_dict(FILMS) | {4: ("d", "validation")}
    assert caplog.messages == []


def test_a_first_run_has_no_splits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = find(tmp_path / "splits")
    assert (len(found), list(found)) == (0, ["imdb_id", "sha256", "split"])
    assert caplog.messages == []
    assert not list(tmp_path.iterdir())


def test_splits_of_another_seed_are_no_backup(tmp_path: Path) -> None:
    path = tmp_path / "splits" / NAME
    champion = make_model(tmp_path / "m", settings=Settings(seed=1))
    write_dataset(tmp_path / "shards", FILMS, seed=2)
    assert find(path.parent, champion, dataset="shards").empty
    damage(path)
    damage(path.with_name("seed-1.parquet"))
    with pytest.raises(DatasetError, match=rf"{NAME} is damaged .*Restore the file from a backup; or remove it"):
        find(path.parent, champion, dataset="shards")
    assert path.read_bytes() == b"PAR1 and no more"
    backup = SplitsBackup([champion], tmp_path)
    assert as_dict(find_known_splits(path.parent, SETTINGS, 1, backup)) == as_dict(FILMS)


def test_splits_of_other_fractions_are_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    champion = make_model(tmp_path / "m", settings=Settings(dataset=DatasetSettings(test_fraction=0.2)))
    assert as_dict(find(tmp_path / "splits", champion)) == as_dict(FILMS)
    assert len(caplog.messages) == 1
    backup = SplitsBackup([], tmp_path)
    known = find_known_splits(tmp_path / "splits", DatasetSettings(test_fraction=0.3), 0, backup)
    assert as_dict(known) == as_dict(FILMS)


def test_the_file_of_an_earlier_version_is_taken_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    splits_dir = tmp_path / "splits"
    splits_dir.mkdir()
    make_films(a="train", b="test", d="validation").to_parquet(splits_dir / EARLIER_NAME)
    # Of other fractions, under which some films were split otherwise.
    make_films(b="train", e="test").to_parquet(splits_dir / "seed-0-0.1-0.2.parquet")
    make_films(f="test").to_parquet(splits_dir / "seed-1-0.1-0.1.parquet")
    expected = {1: ("a", "train"), 2: ("b", "test"), 4: ("d", "validation"), 5: ("e", "test")}
    assert as_dict(find(splits_dir)) == expected
    caplog.clear()
    (splits_dir / "seed-0-0.1-0.2.parquet").unlink()
    assert as_dict(find(splits_dir)) == as_dict(read_splits(splits_dir / NAME)) == expected
    (splits_dir / NAME).unlink()
    assert as_dict(find(splits_dir, make_model(tmp_path / "m", make_films(a="train", b="train")))) == {
        film: expected[film] for film in (1, 2, 4)
    }
    assert caplog.messages == []
    damage(splits_dir / EARLIER_NAME)
    (splits_dir / NAME).unlink()
    with pytest.raises(DatasetError, match=rf"{EARLIER_NAME} is damaged: .*Restore the file from a backup"):
        find(splits_dir)


@pytest.mark.parametrize("name", ["films.parquet", "settings.json", "manifest.json"])
def test_a_damaged_model_is_no_backup(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    caplog.set_level(logging.INFO)
    champion = make_model(tmp_path / "m")
    (champion.path / name).write_bytes(b"{")
    damage(tmp_path / "splits" / NAME)
    with pytest.raises(DatasetError, match="no whole model with the same seed has them"):
        find(tmp_path / "splits", champion)
    assert len(caplog.messages) == 1
    assert str(champion.path / name) in caplog.messages[0]
    # The next one is.
    assert as_dict(find(tmp_path / "splits", champion, make_model(tmp_path / "m0"))) == as_dict(FILMS)


def test_films_that_are_not_those_of_the_manifest_are_no_backup(tmp_path: Path) -> None:
    champion = make_model(tmp_path / "m")
    make_films(a="test", b="train", c="train").to_parquet(champion.films_path)
    assert as_dict(find(tmp_path / "splits", champion, make_model(tmp_path / "m0"))) == as_dict(FILMS)


def test_a_champion_of_an_earlier_version_of_the_settings_is_read(tmp_path: Path) -> None:
    champion = make_model(tmp_path / "m")
    settings = json.loads(champion.settings_path.read_text())
    settings["dataset"]["a_setting_that_is_gone"] = 1
    champion.settings_path.write_text(json.dumps(settings))
    assert len(find(tmp_path / "splits", champion)) == 3
