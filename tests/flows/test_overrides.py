import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.utilities.callables import parameter_schema

from flows.compare import compare
from flows.demo import demo
from flows.overrides import NO_OVERRIDES, Overrides
from flows.train import train
from tasks.errors import SettingsError
from tasks.settings import Settings

SECRET = "s3cr3tsignature"
GIVEN = {
    "catalog": {"source": "films.csv", "excluded_genres": ["Adult", "News"]},
    "training": {"recipe": "seed", "epochs": 7},
    "wait_seconds": 3600,
}


def apply(overrides: dict[str, Any]) -> dict[str, Any]:
    return Overrides(overrides).apply(Settings.model_validate(GIVEN)).model_dump(mode="json")


def list_changes(overrides: dict[str, Any]) -> dict[str, Any]:
    before, after = flatten(apply({})), flatten(apply(overrides))
    assert before.keys() == after.keys()
    return {name: after[name] for name in before if after[name] != before[name]}


def flatten(values: dict[str, Any]) -> dict[str, Any]:
    flat = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{nested}": found for nested, found in flatten(value).items()}
        else:
            flat[name] = value
    return flat


@pytest.mark.parametrize(
    ("overrides", "changes"),
    [
        ({}, {}),
        ({"training": {}}, {}),
        ({"training": {"epochs": 5}}, {"training.epochs": 5}),
        ({"training": {"learning_rate": 1e-4}, "seed": 3}, {"training.learning_rate": 1e-4, "seed": 3}),
        ({"catalog": {"excluded_genres": ["Short"]}}, {"catalog.excluded_genres": ["Short"]}),
        ({"wait_seconds": 0}, {"wait_seconds": 0}),
        ({"training": {"recipe": "seed_bce"}}, {"training.recipe": "seed_bce", "training.loss": "binary_crossentropy"}),
    ],
)
def test_what_is_named_changes_and_nothing_else(overrides: dict[str, Any], changes: dict[str, Any]) -> None:
    assert list_changes(overrides) == changes


def test_another_recipe_replaces_what_a_recipe_set_but_not_what_was_given() -> None:
    training = apply({"training": {"recipe": "default"}})["training"]
    assert training == Settings.model_validate({"training": {"epochs": 7}}).model_dump(mode="json")["training"]
    # Once more, on settings that were overridden already.
    twice = Overrides({"training": {"recipe": "seed"}}).apply(
        Overrides({"training": {"recipe": "default"}}).apply(Settings.model_validate(GIVEN))
    )
    assert twice == Settings.model_validate(GIVEN)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"training": {"epoch": 3}}, r"^unknown setting training.epoch \(overrides\): did you mean training.epochs\?$"),
        ({"zebra": 3}, r"^unknown setting zebra \(overrides\): expected one of data_dir"),
        ({"training": {"epochs": 0}}, r"^bad value for training.epochs \(overrides\): .*received 0$"),
        ({"training": {"epochs": True}}, r"^bad value for training.epochs \(overrides\): expected a number"),
        ({"training": 3}, r"^bad value for training \(overrides\)"),
        ({"wait_seconds": {"x": 1}}, r"^wait_seconds.x: wait_seconds is not a group of settings: 3600"),
        ({"artifacts_dir": "data"}, "^data_dir and artifacts_dir must be two folders"),
        ({"catalog": {"source": f"https://user:{SECRET}@host/f.csv"}}, "^bad value for catalog.source .*without user"),
    ],
)
def test_what_is_wrong_is_one_line(overrides: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says) as raised:
        apply(overrides)
    assert "\n" not in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("found", [train, compare, demo])
def test_the_schema_is_that_of_the_settings_without_defaults(found: Any) -> None:
    schema = parameter_schema(found.fn).model_dump()
    # As Prefect's server validates.
    definition = schema["definitions"]["Overrides"]
    validator = Draft202012Validator(definition)
    for valid in ({}, {"training": {"epochs": 5}}, {"notify": {"block": None}}, {"training": {"patience": None}}):
        assert list(validator.iter_errors(valid)) == []
    for wrong in ({"training": {"epoch": 3}}, {"training": {"epochs": 0}}, {"zebra": 1}, {"training": 3}):
        assert list(validator.iter_errors(wrong)) != []
    assert '"default"' not in json.dumps(definition).replace('"enum": ["default"', "")
    assert "overrides" not in schema.get("required", [])


def test_secrets_are_in_no_text_and_not_on_the_server(prefect_server: None) -> None:
    address = f"https://host/films.csv?X-Amz-Signature={SECRET}"
    overrides = Overrides({"catalog": {"source": address, "excluded_genres": [address]}})
    assert overrides.apply(Settings()).catalog.source == address
    assert SECRET not in overrides.model_dump_json() + str(overrides) + repr(overrides)

    @flow
    def take(overrides: Overrides = NO_OVERRIDES) -> str:
        return overrides.apply(Settings()).catalog.source

    state = take(overrides, return_state=True)
    assert state.result() == address
    with get_client(sync_client=True) as client:
        parameters = client.read_flow_run(state.state_details.flow_run_id).parameters
    assert parameters["overrides"]["catalog"]["source"] == "https://host/films.csv?X-Amz-Signature=***"
    assert SECRET not in str(parameters)


def test_wrong_ones_end_a_run_with_one_line(prefect_server: None) -> None:
    state = train(Settings(), {"training": {"epoch": 3}}, return_state=True)  # type: ignore[arg-type]
    assert state.is_failed()
    assert state.message.endswith("unknown setting training.epoch (overrides): did you mean training.epochs?")
