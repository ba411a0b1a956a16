from itertools import pairwise
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
import yaml

from flows.configuration import load_settings
from tasks.errors import SettingsError
from tasks.settings import CatalogSettings, Settings, TrainingSettings


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
        ("zebra=3", r"unknown setting zebra .*: expected one of data_dir, artifacts_dir, store, wait_seconds"),
        (
            "training.epochs=0",
            r"bad value for training.epochs \(--set training.epochs=0\): input should be .*received 0",
        ),
        ("training.epochs=many", "bad value for training.epochs .*valid integer.*received 'many'"),
        (
            "training.recipe=finest",
            "bad value for training.recipe .*'default', 'fast', 'best', 'seed' or 'seed_bce'.*received 'finest'",
        ),
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


DEEP = 5000
LAUGHS = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}, *{before}, *{before}, *{before}, *{before}]\n"
    for before, name in pairwise("abcdefghijklmnop")
)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("s.yaml", "seed: " + "[" * DEEP + "]" * DEEP, "more than 10 levels"),
        ("s.yaml", "seed:" + "".join(f"\n{' ' * level}a:" for level in range(1, 1000)), "more than 10 levels"),
        ("s.toml", "seed = " + "[" * DEEP + "]" * DEEP, "s.toml: too many levels"),
        ("s.toml", "seed." + ".".join("a" * 2000) + " = 1", "bad value for seed .*should be a valid integer"),
        ("s.yaml", LAUGHS, "aliases are not supported"),
        ("s.yaml", "seed: &a [*a]", "aliases are not supported"),
        ("s.yaml", "seed: !!python/object:os.system {}", "tags are not supported"),
        ("s.yaml", "seed: !!timestamp nonsense", "tags are not supported"),
        ("s.yaml", "seed: 1\nseed: 2\n", "seed is given twice .*line 2, column 1"),
        ("s.yaml", "training: {epochs: 1, 'epochs': 2}", "epochs is given twice"),
        ("s.toml", "seed = 1\nseed = 2\n", "Cannot overwrite a value"),
        ("s.yaml", "1: 2", "expected a name, as text"),
        ("s.yaml", "[a]: 2", "expected a name, as text"),
        ("s.yaml", "seed: " + "9" * 5000, "s.yaml: Exceeds the limit"),
        ("s.toml", "seed = " + "9" * 5000, "s.toml: Exceeds the limit"),
        ("s.yaml", f"seed: {'x' * 2_000_000}", "s.yaml has more than 1,000,000 bytes"),
        ("s.yaml", f"seed: {'x' * 100_000}", r"bad value for seed .*received 'xxx"),
        ("s.yaml", "just words", "expected names with values, received a str"),
        ("s.yaml", "training: {epochs: true}", "bad value for training.epochs .*: expected a number, received True"),
        ("s.yaml", "training: {patience: no}", "bad value for training.patience .*: expected a number, received False"),
        ("s.yaml", "training: {learning_rate: .inf}", "bad value for training.learning_rate .*finite"),
        ("s.toml", "training.learning_rate = nan", "bad value for training.learning_rate .*finite"),
        ("s.yaml", "wait_seconds: .inf", "bad value for wait_seconds .*finite"),
        ("s.yaml", "training: {learning_rate: 11}", "bad value for training.learning_rate .*less than or equal to 10"),
        ("s.yaml", 'data_dir: "a\\0b"', "null"),
    ],
)
def test_what_can_not_be_meant_is_one_line(tmp_path: Path, name: str, text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as raised:
        load_settings(write(tmp_path / name, text))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1000


def test_a_date_is_text(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path / "s.yaml", "catalog: {source: 2001-99-99}")).catalog.source == "2001-99-99"


def test_an_endless_file_is_refused() -> None:
    with pytest.raises(SettingsError, match="expected a settings file ending in"):
        load_settings(Path("/dev/zero"))


def test_deep_assignments_are_refused() -> None:
    for assignment in ("seed=" + "[" * DEEP, ".".join("a" * DEEP) + "=1", "seed={a: 1, a: 2}"):
        with pytest.raises(SettingsError) as raised:
            load_settings(assignments=[assignment])
        assert len(str(raised.value)) < 1000


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=10), values, max_size=3),
    max_leaves=10,
)
NAMES = st.sampled_from([*Settings.model_fields, *TrainingSettings.model_fields, *CatalogSettings.model_fields])
# Texts from the characters that mean something, values under the settings' own names, and any text at all.
YAML = (
    st.text(st.sampled_from(" \n\t-:,[]{}&*!|>'\"%@`#?0123456789abex_.~<=\\"), max_size=80)
    | st.dictionaries(NAMES, VALUES | st.dictionaries(NAMES, VALUES, max_size=3), max_size=4).map(yaml.safe_dump)
    | st.text(max_size=80)
)


@hypothesis.given(YAML)
@hypothesis.settings(
    deadline=None, max_examples=300, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
def test_any_text_gives_settings_or_their_error(tmp_path: Path, text: str) -> None:
    for name in ("s.yaml", "s.toml"):
        (tmp_path / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            settings = load_settings(tmp_path / name, [f"seed={text}", f"{text}=1"][: len(text) % 3])
        except SettingsError as error:
            assert "\n" not in str(error)  # noqa: PT017  (most texts are no settings, some are)
        else:
            assert Settings.model_validate_json(settings.model_dump_json()) == settings


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none.yaml can't be read: .*No such file"):
        load_settings(tmp_path / "none.yaml")


def test_assigning_below_a_value_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="seed is not a group of settings: 3"):
        load_settings(write(tmp_path / "s.yaml", "seed: 3"), ["seed.x=1"])


def test_folders_are_kept_apart() -> None:
    with pytest.raises(SettingsError, match="^data_dir and artifacts_dir must be two folders, both are data$"):
        load_settings(None, ["artifacts_dir=data"])


@pytest.mark.parametrize("name", ["posters", "logs", "features/models"])
def test_models_are_not_in_a_stages_folder(tmp_path: Path, name: str) -> None:
    folders = [f"data_dir={tmp_path}", f"artifacts_dir={tmp_path / name}"]
    with pytest.raises(SettingsError, match=f"^artifacts_dir {tmp_path / name} is in a folder of data_dir that belong"):
        load_settings(None, folders)


def test_data_is_not_among_the_models(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "artifacts" / "models")
    for data_dir in (tmp_path / "artifacts" / "models" / "x", tmp_path / "link"):
        with pytest.raises(SettingsError, match="is among the models of artifacts_dir: choose another$"):
            load_settings(None, [f"data_dir={data_dir}", f"artifacts_dir={tmp_path / 'artifacts'}"])


def test_other_folders_below_each_other_are_fine(tmp_path: Path) -> None:
    load_settings(None, [f"data_dir={tmp_path}", f"artifacts_dir={tmp_path / 'artifacts'}"])
    load_settings(None, [f"data_dir={tmp_path / 'data'}", f"artifacts_dir={tmp_path}"])


def test_a_setting_that_was_removed_is_named_with_the_reason() -> None:
    with pytest.raises(SettingsError, match=r"^bad value for training: fine_tune was removed, .*leave it out"):
        load_settings(assignments=["training.fine_tune=4"])
