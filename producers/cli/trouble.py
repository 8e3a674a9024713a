"""What keeps a command from running, told to a person: what, why, what to do."""

import re
from typing import get_origin

from pydantic import BaseModel, ValidationError
from pydantic_settings import SettingsError

from shared.errors import LedgerError, LedgerSlowError
from shared.settings import Settings

DONE = 0
NOTHING = 1
"""Nothing matched, or all was refused."""
IMPOSSIBLE = 2
"""Wrongly asked, or something needed is not set or not there."""

_NO_TABLE, _NO_COLUMN = "42P01", "42703"
_FIELD = re.compile(r'field "(\w+)"')


class TroubleError(Exception):
    """A command cannot do what was asked; *hint* says what to do about it."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what, hint)
        self.what = what
        self.hint = hint


def told(error: Exception) -> TroubleError | None:
    """Say in words for a person what *error* means; None: it is a bug."""
    match error:
        case TroubleError():
            return error
        case LedgerError():
            return _of_ledger(error)
        case ValidationError():
            flaws = [_flaw(flaw["loc"], flaw["msg"]) for flaw in error.errors(include_input=False)]
            return TroubleError("\n  ".join(["the settings are not valid", *flaws]), "correct them; see .env.example")
        case SettingsError():
            names = " or ".join(_json_settings(str(error)))
            return TroubleError(
                f"the settings cannot be read: {names} is not valid JSON", "correct it; see .env.example"
            )
        case _:
            return None


def _of_ledger(error: LedgerError) -> TroubleError:
    cause = str(error)
    if isinstance(error, LedgerSlowError):
        return TroubleError("the ledger took too long to find this", "narrow it: --state, --member, --since")
    if _NO_TABLE in cause or _NO_COLUMN in cause:
        return TroubleError("the ledger's schema is not that of this version", "run `membersync migrate`")
    hint = "check MEMBERSYNC_LEDGER_URL and its server; `membersync doctor` says more"
    return TroubleError(f"the ledger does not serve ({cause})", hint)


def _json_settings(said: str) -> list[str]:
    """Name the variables that pydantic-settings may mean: it says which group of settings it could not read."""
    found = _FIELD.search(said)
    group = found[1] if found else ""
    kind = Settings.model_fields[group].annotation if group in Settings.model_fields else None
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return [_variable((group,) if group else ())]
    inside = [name for name, field in kind.model_fields.items() if get_origin(field.annotation) is dict]
    return [_variable((group, name)) for name in inside] or [_variable((group,))]


def _flaw(path: tuple[int | str, ...], said: str) -> str:
    words = said.removeprefix("Value error, ")
    return f"{_variable(path)}: {words}" if path else words


def _variable(path: tuple[int | str, ...]) -> str:
    return "MEMBERSYNC_" + "__".join(str(part) for part in path).upper() if path else "MEMBERSYNC_…"
