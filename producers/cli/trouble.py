"""What keeps a command from running, told to a person: what, why, what to do."""

from pydantic import ValidationError
from pydantic_settings import SettingsError

from shared.errors import LedgerError

DONE = 0
NOTHING = 1
"""Nothing matched, or all was refused."""
IMPOSSIBLE = 2
"""Wrongly asked, or something needed is not set or not there."""

_NO_TABLE, _NO_COLUMN = "42P01", "42703"


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
            cause = str(error)
            if _NO_TABLE in cause or _NO_COLUMN in cause:
                return TroubleError("the ledger's schema is not that of this version", "run `membersync migrate`")
            return TroubleError(f"the ledger does not serve ({cause})", "check MEMBERSYNC_LEDGER_URL and its server")
        case ValidationError():
            flaws = [f"{_variable(flaw['loc'])}: {flaw['msg']}" for flaw in error.errors(include_input=False)]
            return TroubleError("\n  ".join(["the settings are not valid", *flaws]), "correct them; see .env.example")
        case SettingsError():
            return TroubleError(f"the settings cannot be read: {error}", "JSON settings need valid JSON")
        case _:
            return None


def _variable(path: tuple[int | str, ...]) -> str:
    return "MEMBERSYNC_" + "__".join(str(part) for part in path).upper() if path else "MEMBERSYNC_…"
