"""Some settings of one run, in the place of those that a deployment names: the flows' parameter `overrides`."""

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, GetJsonSchemaHandler, RootModel, SerializationInfo, model_serializer
from pydantic_core import CoreSchema

from flows.configuration import replace_settings
from tasks.settings import Settings
from tasks.web.addresses import redact


class Overrides(RootModel[dict[str, Any]]):
    """Settings as in a settings file, of which only those that are named count: `{"training": {"epochs": 5}}`.

    Its JSON schema is that of the settings, by which Prefect refuses unknown names and values out of bounds before a
    run starts. They are validated together with the other settings by `apply`. Addresses are redacted in JSON, as those
    of settings are.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    def apply(self, settings: Settings) -> Settings:
        """Returns the settings with these in their place.

        Raises:
            SettingsError: One of them is unknown, or has a value that does not fit.
        """
        return replace_settings(settings, self.root, "overrides") if self.root else settings

    @model_serializer
    def _serialize(self, info: SerializationInfo) -> dict[str, Any]:
        return dict(_redact(self.root)) if info.mode_is_json() else self.root

    def __repr__(self) -> str:
        return f"Overrides({_redact(self.root)!r})"

    __str__ = __repr__

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = Settings.model_json_schema()
        # Without defaults: a form that filled them in would replace every setting.
        resolved = _resolve(schema, schema["$defs"])
        return {**resolved, "title": cls.__name__, "description": "Settings that replace single ones of `settings`."}


NO_OVERRIDES = Overrides({})


def _redact(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _redact(nested) for name, nested in value.items()}
    if isinstance(value, list | tuple):
        return [_redact(nested) for nested in value]
    return redact(value) if isinstance(value, str) else value


def _resolve(node: Any, definitions: Mapping[str, Any]) -> Any:
    """Returns a JSON schema with its references replaced by what they refer to, and without defaults."""
    if isinstance(node, list):
        return [_resolve(nested, definitions) for nested in node]
    if not isinstance(node, Mapping):
        return node
    if "$ref" in node:
        return _resolve(definitions[node["$ref"].rpartition("/")[2]], definitions)
    # A default stands beside the type; a setting of that name would be among the properties of a group.
    return {name: _resolve(nested, definitions) for name, nested in node.items() if name not in ("default", "$defs")}
