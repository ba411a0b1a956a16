from pathlib import Path

import pytest

from flows.configuration import load_settings
from tasks.errors import SettingsError
from tasks.settings import Settings


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_nothing_given_gives_the_defaults() -> None:
    assert load_settings() == Settings()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.yaml", "seed: 3\ntraining:\n  recipe: seed\n  epochs: 5\n"),
        ("s.toml", 'seed = 3\n[training]\nrecipe = "seed"\nepochs = 5\n'),
    ],
)
def test_files(tmp_path: Path, name: str, text: str) -> None:
    settings = load_settings(write(tmp_path / name, text))
    assert (settings.seed, settings.training.recipe, settings.training.epochs) == (3, "seed", 5)
    assert settings.training.learning_rate == 1e-5


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path / "s.yml", "")) == Settings()


def test_options_win_over_assignments_and_these_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "s.yaml", "training: {epochs: 1, batch_size: 8}\nseed: 1\n")
    settings = load_settings(file, ["training.epochs=2", "seed=2"], {"seed": 3, "catalog.source": None})
    assert (settings.training.epochs, settings.training.batch_size, settings.seed) == (2, 8, 3)


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("training.learning_rate=1e-4", 1e-4),
        ("training.patience=null", None),
        ("training.standardise=false", False),
    ],
)
def test_values_are_read_as_yaml(assignment: str, value: object) -> None:
    assert getattr(load_settings(assignments=[assignment]).training, assignment.split("=")[0].split(".")[1]) == value


def test_lists() -> None:
    assert load_settings(assignments=["evaluation.baselines=[seed]"]).evaluation.baselines == ("seed",)


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        (
            "training.epoch=3",
            r"unknown setting training.epoch \(--set training.epoch=3\): did you mean training.epochs\?",
        ),
        ("zebra=3", r"unknown setting zebra .*: expected one of data_dir, artifacts_dir, wait_seconds"),
        (
            "training.epochs=0",
            r"bad value for training.epochs \(--set training.epochs=0\): input should be .*received 0",
        ),
        ("training.epochs=many", "bad value for training.epochs .*valid integer.*received 'many'"),
        ("training.recipe=best", "bad value for training.recipe .*'default', 'seed' or 'seed_bce'.*received 'best'"),
        ("training.epochs", "--set training.epochs: expected name=value"),
        ("seed.x=1", "bad value for seed"),
        ("training=3", "bad value for training"),
        ("seed=[", r"--set seed=\[: '\[' is not a value"),
    ],
)
def test_bad_assignments_are_one_line(assignment: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as raised:
        load_settings(assignments=[assignment])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("s.yaml", "training: {epochs: [}", "s.yaml: while parsing"),
        ("s.toml", "seed = ", "s.toml: Invalid value"),
        ("s.yaml", "- a\n- b\n", "expected names with values"),
        ("s.ini", "seed=3", "ending in .yaml, .yml or .toml"),
        ("s.yaml", "training: {epoch: 3}", r"unknown setting training.epoch \(.*s.yaml\): did you mean"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as raised:
        load_settings(write(tmp_path / name, text))
    assert "\n" not in str(raised.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none.yaml can't be read: .*No such file"):
        load_settings(tmp_path / "none.yaml")


def test_assigning_below_a_value_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="seed is not a group of settings: 3"):
        load_settings(write(tmp_path / "s.yaml", "seed: 3"), ["seed.x=1"])


def test_folders_are_kept_apart() -> None:
    with pytest.raises(SettingsError, match="^data_dir and artifacts_dir must be two folders, both are data$"):
        load_settings(None, ["artifacts_dir=data"])


def test_a_setting_that_was_removed_is_named_with_the_reason() -> None:
    with pytest.raises(SettingsError, match=r"^bad value for training: fine_tune was removed, .*leave it out"):
        load_settings(assignments=["training.fine_tune=4"])
