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
    cause = str(error)
    trouble = error if isinstance(error, TroubleError) else None
    match error:
        case PortError():
            trouble = TroubleError(cause, code=UNHEARD)
        case SettingsInvalidError():
            trouble = TroubleError(cause, CORRECT_SETTINGS)
        case LedgerSlowError():
            trouble = TroubleError("the ledger took too long to find this", "narrow it: --state, --member, --since")
        case LedgerError() if _NO_TABLE in cause or _NO_COLUMN in cause:
            trouble = TroubleError("the ledger's schema is not that of this version", "run `membersync migrate`")
        case LedgerError():
            hint = "check MEMBERSYNC_LEDGER_URL and its server; `membersync doctor` says more"
            trouble = TroubleError(f"the ledger does not serve ({cause})", hint)
    return trouble
