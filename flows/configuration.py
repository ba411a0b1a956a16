"""Settings from a file, from `--set name=value`, and from options; the later of these win."""

import contextlib
import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from tasks.errors import SettingsError
from tasks.settings import Settings


def load_settings(
    file: Path | None = None, assignments: Sequence[str] = (), options: Mapping[str, Any] | None = None
) -> Settings:
    """Merges the settings from all sources.

    Args:
        file: YAML or TOML file with any of the settings.
        assignments: Assignments such as `training.epochs=10`; values are parsed as YAML.
        options: Values by dotted name; None is ignored.

    Raises:
        SettingsError: A setting is wrong; the message is one line: the error, its origin, and the expected values.
    """
    given: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if file:
        given = _read_file(file)
        origins[""] = str(file)
    for assignment in assignments:
        name, value = _parse_assignment(assignment)
        _assign(given, name, value)
        origins[name] = f"--set {assignment}"
    for name, value in (options or {}).items():
        if value is not None:
            _assign(given, name, value)
            origins[name] = f"the option for {name}"
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise SettingsError("; ".join(_describe(problem, origins) for problem in error.errors())) from error


def _read_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings file {path} can't be read: {error}") from error
    try:
        if path.suffix == ".toml":
            return tomllib.loads(text)
        if path.suffix in (".yaml", ".yml"):
            content = yaml.safe_load(text)
            if not isinstance(content, dict | None):
                raise SettingsError(f"{path}: expected names with values, received {content!r}")
            return content or {}
    except (tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path}: {' '.join(str(error).split())}") from error
    raise SettingsError(f"{path}: expected a settings file ending in .yaml, .yml or .toml")


def _parse_assignment(assignment: str) -> tuple[str, Any]:
    name, equals, text = assignment.partition("=")
    if not equals or not name.strip():
        raise SettingsError(f"--set {assignment}: expected name=value, such as training.epochs=10")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"--set {assignment}: {text!r} is not a value: {' '.join(str(error).split())}") from error
    # YAML 1.1 takes 1e-5 for a string, since it has no dot.
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    return name.strip(), value


def _assign(given: dict[str, Any], name: str, value: Any) -> None:
    *groups, last = name.split(".")
    for group in groups:
        if not isinstance(given.setdefault(group, {}), dict):
            raise SettingsError(f"{name}: {group} is not a group of settings: {given[group]!r}")
        given = given[group]
    given[last] = value


def _describe(problem: Any, origins: Mapping[str, str]) -> str:
    """Returns one of pydantic's validation errors as a message for users."""
    location = [str(part) for part in problem["loc"]]
    name = ".".join(location)
    origin = next((origins[key] for key in (name, name.rpartition(".")[0], "") if key in origins), "")
    where = f" ({origin})" if origin else ""
    # The prefix is pydantic's, before the messages of this project's own validators.
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not location:  # of several settings together
        return message
    if problem["type"] == "extra_forbidden":
        return f"unknown setting {name}{where}{_suggest(location)}"
    return f"bad value for {name}{where}: {message[0].lower()}{message[1:]}, received {problem['input']!r}"


def _suggest(location: list[str]) -> str:
    model: type[BaseModel] = Settings
    for part in location[:-1]:
        annotation = model.model_fields[part].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return ""
        model = annotation
    close = difflib.get_close_matches(location[-1], model.model_fields, n=1)
    known = ", ".join(model.model_fields)
    return f": did you mean {'.'.join([*location[:-1], close[0]])}?" if close else f": expected one of {known}"
