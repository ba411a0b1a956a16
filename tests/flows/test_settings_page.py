import json
import subprocess
import sys

import pytest
from pydantic import BaseModel

from flows.cli import main
from flows.settings_page import Setting, list_settings, render_json_schema, render_markdown
from tasks.recipes import RECIPES
from tasks.settings import Settings

BY_NAME = {setting.name: setting for setting in list_settings()}


def test_every_field_of_every_group_is_listed() -> None:
    names = []
    for name, value in Settings():
        names += [f"{name}.{field}" for field in type(value).model_fields] if isinstance(value, BaseModel) else [name]
    assert list(BY_NAME) == names


@pytest.mark.parametrize(
    ("name", "default", "values", "in_recipe"),
    [
        ("data_dir", "data", "path", False),
        ("seed", "0", "integer from 0 and under 2147483648", False),
        ("catalog.excluded_genres", "[Adult]", "list of text", False),
        ("posters.connections", "32", "integer from 4 to 256", False),
        ("posters.refresh", "false", "true or false", False),
        ("dataset.test_fraction", "0.1", "number over 0 and under 0.5", False),
        ("features.source", "auto", "auto, hub or wheel", False),
        ("training.batch_size", "256", "integer from 1", False),
        ("training.patience", "null", "integer from 1 or null", False),
        ("training.loss", "mixed_soft_f1", BY_NAME["training.loss"].values, True),
        ("features.image_size", "[384, 256]", "integer and integer", True),
        ("evaluation.baselines", "[seed, seed_bce]", "list of default, fast, best, seed or seed_bce", False),
        ("registry.publish_to", "null", "text or null", False),
    ],
)
def test_defaults_and_bounds(name: str, default: str, values: str, in_recipe: bool) -> None:
    found = BY_NAME[name]
    assert found == Setting(name, default, values, found.description, in_recipe)
    assert found.description


def test_markdown_marks_what_a_recipe_sets() -> None:
    page = render_markdown()
    assert "\n| `training.epochs` * | 30 | integer from 1 to 10000 | " in page
    assert "\n| `training.batch_size` | 256 | " in page


def test_markdown_has_the_values_of_each_recipe() -> None:
    table = render_markdown().split("\n## Recipes\n")[1]
    header, _, *rows = (line.strip("| ").split(" | ") for line in table.strip().splitlines())
    assert header == ["setting", *(f"`{name}`" for name in RECIPES)]
    for recipe, values in zip(RECIPES, list(zip(*rows, strict=True))[1:], strict=True):
        settings = Settings.model_validate({"training": {"recipe": recipe}}).model_dump(mode="json")
        for (quoted, *_), text in zip(rows, values, strict=True):
            group, name = quoted.strip("`").split(".")
            value = settings[group][name]
            # Texts are written without quotes.
            assert text == value or text.strip("[]").split(", ") == value or json.loads(text) == value


def test_json_schema_refuses_unknown_names_and_requires_none() -> None:
    schema = json.loads(render_json_schema())
    assert schema["additionalProperties"] is False
    assert "required" not in schema
    assert set(schema["properties"]) == set(Settings.model_fields)


def call(*options: str) -> str:
    script = (
        "import sys, flows.cli\n"
        f"try: flows.cli.main(['settings', *{options!r}])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert not {'tensorflow', 'keras', 'prefect'} & set(sys.modules)"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout


def test_command_needs_neither_tensorflow_nor_prefect() -> None:
    assert "training.epochs *" in call()
    assert call("--markdown") == render_markdown()
    assert json.loads(call("--json-schema")) == Settings.model_json_schema()


def test_command_prints_one_of_page_and_schema() -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["settings", "--json-schema", "--markdown"])
