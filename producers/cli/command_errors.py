"""Exit codes, and what keeps a command from running: what, why, what to do about it."""

from shared.addresses.hosts import PortError
from shared.errors import LedgerError, LedgerSlowError, SettingsInvalidError

DONE = 0
NOTHING = 1
"""Nothing matched, or all was refused."""
IMPOSSIBLE = 2
"""Wrongly asked, or something needed is not set or not there."""
UNHEARD = 1
"""A port cannot be listened on; as `up` and the servers of others end."""

CORRECT_SETTINGS = "correct them; see .env.example"
_NO_TABLE, _NO_COLUMN = "42P01", "42703"


class TroubleError(Exception):
    """A command cannot do what was asked; *hint* says what to do about it, and it ends with *code*."""

    def __init__(self, what: str, hint: str = "", code: int = IMPOSSIBLE) -> None:
        super().__init__(what, hint, code)
        self.what = what
        self.hint = hint
        self.code = code


def trouble_of(error: Exception) -> TroubleError | None:
    """Return what *error* means to a person; None: it is a bug."""
    match error:
        case TroubleError():
            return error
        case PortError():
            return TroubleError(str(error), code=UNHEARD)
        case LedgerError():
            return _of_ledger(error)
        case SettingsInvalidError():
            return TroubleError(str(error), CORRECT_SETTINGS)
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
