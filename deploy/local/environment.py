"""Settings as the environment of a child process, so that every process of a stack reads the same."""

import json
import os
from collections.abc import Iterator, Mapping

from pydantic import BaseModel, SecretStr
from pydantic_core import to_jsonable_python

from shared.settings import Settings

_PREFIX = "MEMBERSYNC_"


def environment(settings: Settings) -> dict[str, str]:
    """Give the whole environment of a child that shall run with *settings*, secrets included."""
    return {**_inherited(), **dict(variables(settings))}


def variables(settings: Settings) -> Iterator[tuple[str, str]]:
    """Name every setting as `shared.settings` reads it; unset is empty."""
    return _variables(settings, _PREFIX)


def _inherited() -> Mapping[str, str]:
    """Give our own environment without its settings: what a child needs is in *settings*, a typing error is not."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(_PREFIX)}


def _variables(model: BaseModel, prefix: str) -> Iterator[tuple[str, str]]:
    for name in type(model).model_fields:
        value, variable = getattr(model, name), f"{prefix}{name.upper()}"
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
