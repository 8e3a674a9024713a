"""What is wrong with settings, in words that have no value in them: a value may be a secret.

pydantic says the value, and the way to it, in which a token of `MEMBERSYNC_API__TOKENS` is a step.
"""

import re
from collections.abc import Sequence
from typing import get_origin

from pydantic import BaseModel, ValidationError
from pydantic_settings import SettingsError as UnreadError

_FIELD = re.compile(r'field "(\w+)"')
_OURS = "Value error, "


class SettingsInvalidError(ValueError):
    """The settings cannot be used; *flaws* says why, one sentence for each."""

    def __init__(self, what: str, flaws: Sequence[str]) -> None:
        super().__init__(what, flaws)
        self.what = what
        self.flaws = flaws

    def __str__(self) -> str:
        """Say all of it, as a process that ends of it prints it."""
        return "\n  ".join([self.what, *self.flaws])


def invalid(error: ValidationError | UnreadError, settings: type[BaseModel]) -> SettingsInvalidError:
    """Say what *error*, of reading *settings*, means."""
    if isinstance(error, ValidationError):
        flaws = [_flaw(flaw["loc"], flaw["msg"], settings) for flaw in error.errors(include_input=False)]
        return SettingsInvalidError("the settings are not valid", flaws)
    names = " or ".join(_json_settings(str(error), settings))
    return SettingsInvalidError(f"the settings cannot be read: {names} is not valid JSON", [])


def _json_settings(said: str, settings: type[BaseModel]) -> list[str]:
    """Name the variables that pydantic-settings may mean: it says which group of settings it could not read."""
    found = _FIELD.search(said)
    group = found[1] if found else ""
    kind = settings.model_fields[group].annotation if group in settings.model_fields else None
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return [_variable((group,) if group else ())]
    inside = [name for name, field in kind.model_fields.items() if get_origin(field.annotation) is dict]
    return [_variable((group, name)) for name in inside] or [_variable((group,))]


def _flaw(path: tuple[int | str, ...], said: str, settings: type[BaseModel]) -> str:
    words = said.removeprefix(_OURS)
    known = _known(path, settings)
    return f"{_variable(known)}: {words}" if known else words


def _known(path: tuple[int | str, ...], settings: type[BaseModel]) -> tuple[int | str, ...]:
    """Give as much of *path* as is ours: names of settings, not what somebody wrote."""
    kind: object = settings
    for length, step in enumerate(path):
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return path[:length]
        fields = {field.alias or name: field for name, field in kind.model_fields.items()} | kind.model_fields
        if step not in fields:
            return path[:length]
        kind = fields[str(step)].annotation
    return path


def _variable(path: tuple[int | str, ...]) -> str:
    return "MEMBERSYNC_" + "__".join(str(part) for part in path).upper() if path else "MEMBERSYNC_…"
