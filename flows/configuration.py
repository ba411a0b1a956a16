"""Settings from a file, from `--set name=value`, and from options; the later of these win."""

import contextlib
import difflib
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from flows.settings_file import MAX_DEPTH, parse_yaml, read_settings_file
from tasks.errors import SettingsError
from tasks.settings import Settings
from tasks.web.addresses import redact

# Values in messages: a wrong one can be of any size.
_MAX_SHOWN = 200
_LIMITED = reprlib.Repr()
_LIMITED.maxstring = _LIMITED.maxother = _LIMITED.maxlong = _MAX_SHOWN


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
        given = read_settings_file(file)
        origins[""] = str(file)
    for assignment in assignments:
        name, value = _parse_assignment(assignment)
        _assign(given, name, value)
        origins[name] = f"--set {_shorten(assignment)}"
    for name, value in (options or {}).items():
        if value is not None:
            _assign(given, name, value)
            origins[name] = f"the option for {name}"
    return _validate(given, origins)


def check_data_dir(settings: Settings) -> None:
    """Raises `SettingsError` if there is no `data_dir`, which a command looks at that makes none."""
    if not settings.data_dir.is_dir():
        raise SettingsError(
            f"no folder {settings.data_dir}: expected the data_dir of earlier runs (--set data_dir=...)"
        )


def replace_settings(settings: Settings, replacements: Mapping[str, Any], origin: str) -> Settings:
    """Returns settings with some of them replaced, as if they were given after them: lists are replaced whole.

    Args:
        settings: Settings of which those are kept that were given. What a recipe or a default filled in follows the
            result's recipe.
        replacements: Values by name, those of a group in a mapping of its own.
        origin: Origin of the replacements, for messages.

    Raises:
        SettingsError: A setting is wrong; the message is one line.
    """
    given = settings.model_dump(exclude_unset=True)
    for name, value in _list_values(replacements):
        _assign(given, name, value)
    return _validate(given, {"": origin})


def _list_values(values: Mapping[str, Any], group: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the dotted names and values of nested mappings."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _list_values(value, f"{group}{name}.")
        else:
            yield f"{group}{name}", value


def _validate(given: Mapping[str, Any], origins: Mapping[str, str]) -> Settings:
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        # Not `from error`: pydantic's text has the values, such as an address with a password.
        raise _error("; ".join(_describe(problem, origins) for problem in error.errors())) from None


def _parse_assignment(assignment: str) -> tuple[str, Any]:
    name, equals, text = assignment.partition("=")
    if not equals or not name.strip():
        raise _error(f"--set {_shorten(assignment)}: expected name=value, such as training.epochs=10")
    try:
        value = parse_yaml(text)
    except ValueError as error:
        raise _error(
            f"--set {_shorten(assignment)}: {_LIMITED.repr(text)} is not a value, expected one as in YAML: {error}"
        ) from error
    # YAML 1.1 takes 1e-5 for a string, since it has no dot.
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    return name.strip(), value


def _assign(given: dict[str, Any], name: str, value: Any) -> None:
    *groups, last = name.split(".")
    if len(groups) > MAX_DEPTH:
        raise _error(f"unknown setting {_shorten(name)}: expected group.name, such as training.epochs")
    for group in groups:
        if not isinstance(given.setdefault(group, {}), dict):
            value = _LIMITED.repr(given[group])
            raise _error(
                f"{name}: {group} is not a group of settings: {value}; expected group.name, such as training.epochs"
            )
        given = given[group]
    given[last] = value


def _error(message: str) -> SettingsError:
    return SettingsError(" ".join(redact(message).split()))


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


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
    return f"bad value for {name}{where}: {message[0].lower()}{message[1:]}, received {_LIMITED.repr(problem['input'])}"


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
