"""Read settings files, YAML or TOML, of anybody's making: what is no plain table of values is one error."""

import tomllib
from pathlib import Path
from typing import Any

import yaml

from tasks.errors import SettingsError, one_line

MAX_BYTES = 1_000_000
# Settings have two levels, and lists.
MAX_DEPTH = 10


def read_settings_file(path: Path) -> dict[str, Any]:
    """Returns the content of a settings file.

    Args:
        path: Path of a file that ends in .yaml, .yml or .toml.

    Raises:
        SettingsError: It can't be read, is larger than `MAX_BYTES`, is no valid YAML or TOML, or is not a table.
    """
    if path.suffix not in (".yaml", ".yml", ".toml"):
        raise SettingsError(f"{path}: expected a settings file ending in .yaml, .yml or .toml")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings file {path} can't be read: {error}; expected text in UTF-8") from error
    if len(content) > MAX_BYTES:
        raise SettingsError(f"{path} has more than {MAX_BYTES:,} bytes: expected a settings file")
    if path.suffix == ".toml":
        return _parse_toml(path, text)
    try:
        values = parse_yaml(text)
    except ValueError as error:
        raise SettingsError(f"{path}: {error}; expected settings as YAML") from error
    if not isinstance(values, dict | None):
        raise SettingsError(f"{path}: expected names with values, received a {type(values).__name__}")
    return values or {}


def parse_yaml(text: str) -> Any:
    """Returns the value of a YAML text: null, a boolean, a number, a string, or lists and tables of these.

    Refused are a name that is given twice (of which YAML would take the last), aliases (whose contents can multiply),
    tags, and more than `MAX_DEPTH` levels. A date is a string.

    Raises:
        ValueError: The text is none; the message is one line.
    """
    try:
        return yaml.load(text, _Loader)
    # ValueError: an integer of thousands of digits, for example.
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(one_line(error)) from error


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {  # noqa: RUF012  (PyYAML's own attribute)
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _error("aliases are not supported: give the value itself", event)
        if getattr(event, "tag", None) is not None:
            raise _error("tags are not supported", event)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _error(f"more than {MAX_DEPTH} levels", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if not isinstance(name, str):
                raise _error("expected a name, as text", key)
            if name in names:
                raise _error(f"{name} is given twice", key)
            names.add(name)
        return super().construct_mapping(node, deep)


def _error(what: str, where: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=what, problem_mark=where.start_mark)


def _parse_toml(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise SettingsError(f"{path}: too many levels: expected groups with settings") from error
    except ValueError as error:  # tomllib's own error is one; so is an integer of thousands of digits
        raise SettingsError(f"{path}: {one_line(error)}; expected settings as TOML") from error
