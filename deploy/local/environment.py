"""Settings as the environment of a child process, so that every process of a stack reads the same."""

import json
import os
from collections.abc import Iterator, Mapping

from pydantic import BaseModel, SecretStr
from pydantic_core import to_jsonable_python
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from shared.settings import Settings

PREFIX = "MEMBERSYNC_"
_OF_OTHERS = {"MEMBERSYNC_TOKEN", "MEMBERSYNC_VERSION"}
"""Read by `membersync produce` and by compose.yaml."""


def environment(settings: Settings) -> dict[str, str]:
    """Give the whole environment of a child that shall run with *settings*, secrets included."""
    return {**_inherited(), **dict(variables(settings))}


def variables(settings: Settings) -> Iterator[tuple[str, str]]:
    """Name every setting as `shared.settings` reads it; unset is empty."""
    return _variables(settings, PREFIX)


def unknown(settings: Settings) -> list[str]:
    """Name the variables, of the environment and of `.env`, that look like settings and that nobody reads."""
    known = {name for name, _ in variables(settings)}
    groups = {name.rpartition("__")[0] for name in known}
    sources = (EnvSettingsSource(Settings), DotEnvSettingsSource(Settings))
    given = {name.upper() for source in sources for name in source.env_vars if name.upper().startswith(PREFIX)}
    # What a JSON setting holds may be given one by one: MEMBERSYNC_SIEBEL__FIELD_NAMES__ROW_ID.
    return sorted(
        name for name in given - known - groups - _OF_OTHERS if not any(name.startswith(f"{one}__") for one in known)
    )


def _inherited() -> Mapping[str, str]:
    """Give our own environment without its settings: what a child needs is in *settings*, a typing error is not."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}


def _variables(model: BaseModel, prefix: str) -> Iterator[tuple[str, str]]:
    for name, field in type(model).model_fields.items():
        value, variable = getattr(model, name), f"{prefix}{(field.alias or name).upper()}"
        if isinstance(value, BaseModel):
            yield from _variables(value, f"{variable}__")
        else:
            yield variable, _text(value)


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case SecretStr():
            return value.get_secret_value()
        case dict() | list():
            return json.dumps(to_jsonable_python(value))
        case _:
            return str(value)
