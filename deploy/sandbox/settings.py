"""What a simulator can be told while it runs: one frozen object, replaced as a whole."""

from dataclasses import dataclass, fields, replace
from typing import TypeVar


class SettingsError(ValueError):
    """A setting is unknown or has the wrong type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every simulator can be told.

    Units: milliseconds; the jitter is drawn evenly from 0 to ``latency_jitter_ms`` and added.
    """

    latency_ms: float = 0
    latency_jitter_ms: float = 0
    record_calls: bool = True


SomeSettings = TypeVar("SomeSettings", bound=Settings)


def changed(settings: SomeSettings, changes: object) -> SomeSettings:
    """Return *settings* with the JSON object *changes* applied.

    Raises:
        SettingsError: names the setting.
    """
    if not isinstance(changes, dict):
        raise SettingsError("settings are an object")
    known = {field.name for field in fields(settings)}
    for name, value in changes.items():
        if name not in known:
            raise SettingsError(f"{name}: unknown; known are {', '.join(sorted(known))}")
        number = type(getattr(settings, name)) in (int, float) and type(value) in (int, float)
        if not number and type(value) is not type(getattr(settings, name)):
            raise SettingsError(f"{name}: must be {type(getattr(settings, name)).__name__}")
    return replace(settings, **changes)
