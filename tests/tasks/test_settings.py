import pytest
from pydantic import ValidationError

from tasks.settings import RECIPES, Settings, TrainingSettings


def test_recipe_sets_what_is_not_given() -> None:
    training = TrainingSettings(recipe="seed", epochs=10)
    assert (training.epochs, training.learning_rate, training.standardise, training.patience) == (10, 1e-5, False, None)


def test_field_defaults_are_those_of_the_default_recipe() -> None:
    # A form made from the JSON schema shows the fields' defaults.
    for name, value in RECIPES["default"].items():
        assert TrainingSettings.model_fields[name].default == value


def test_an_altered_recipe_is_not_called_by_its_name() -> None:
    assert TrainingSettings(recipe="seed").name == "seed"
    assert TrainingSettings(recipe="seed", epochs=10).name == "seed (altered)"


def test_seed_recipe_is_the_articles() -> None:
    seed = TrainingSettings(recipe="seed")
    assert (seed.hidden_units, seed.learning_rate, seed.batch_size, seed.epochs, seed.loss) == (
        1024,
        1e-5,
        256,
        30,
        "soft_f1",
    )


@pytest.mark.parametrize(
    "given",
    [
        {"sed": 1},
        {"training": {"epoch": 3}},
        {"training": {"epochs": 0}},
        {"training": {"recipe": ["seed"]}},
        {"seed": -1},
        {"features": {"taps": ["Conv1"]}},
        {"features": {"taps": ["Conv1_relu", "Conv1_relu"]}},
    ],
)
def test_unknown_names_and_bad_values_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(given)


def test_settings_are_frozen_and_survive_json() -> None:
    settings = Settings.model_validate({"training": {"recipe": "seed_bce"}})
    assert Settings.model_validate_json(settings.model_dump_json()) == settings
    with pytest.raises(ValidationError):
        settings.seed = 3


def test_settings_of_the_fine_tuning_that_was_removed_are_read_where_they_are_off() -> None:
    assert TrainingSettings.model_validate({"fine_tune": 0, "fine_tune_learning_rate": 1e-3}) == TrainingSettings()
    with pytest.raises(ValidationError, match="fine_tune was removed, .*leave it out, or set it to 0"):
        TrainingSettings.model_validate({"fine_tune": 4})
