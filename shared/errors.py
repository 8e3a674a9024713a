"""What can go wrong, and what is done about it: the class is the decision.

```
MembersyncError                 code = stable word, for logs, ledger and filters
├── InvalidEventError           intake: this event is refused, with the field; the events beside it are not
├── StageError(system, …)       one attempt of one stage failed for one instance
│   ├── TransientError          worth another attempt: the stage's retry policy says when
│   │   ├── UnreachableError    could not connect, name not found, TLS: nothing was sent
│   │   ├── UnavailableError    it answered, and could not serve: 5xx, 408, not JSON, a maintenance page, inactive
│   │   ├── ThrottledError      429, or 503 with Retry-After: never again before retry_after_s
│   │   ├── OutcomeUnknownError the request went out and no answer came back: probe before repeating a create
│   │   ├── RowConflictError    somebody else keeps changing this record: no word about the system, never given up
│   │   └── AddressPendingError refused for an address that another member is just giving up: waits for that member
│   ├── BudgetSpentError        our own budget for that system is spent, or as many calls as it takes are in flight:
│   │                           later, at no cost
│   ├── LeaseLostError          our own time for the attempt ran out before anything was sent: later, at no cost
│   ├── UnauthorisedError       401/403: ours or theirs to put right; retried by policy, never a Data Error
│   └── DataError               the member itself is refused: told to Siebel, no retry; a newer event brings the fix
└── LedgerError                 our own bookkeeping failed: cannot connect, cannot commit
    ├── LedgerConflictError     two of us wrote the same thing at once: rolled back, worth repeating at once
    └── LedgerRefusedError      it does not take what it was given: the same again fails the same
```

`SettingsInvalidError` stands apart: no process starts with such settings.

Anything else that escapes a stage is a bug: a dead letter, code `bug`, at the first attempt.
"""

from collections.abc import Sequence
from typing import ClassVar

OURS = ("bug", "worker_lost")
"""Codes of dead letters for which no outside system is to blame; they say something about membersync."""


class MembersyncError(Exception):
    """Root of everything membersync raises on purpose."""

    code: ClassVar[str] = "error"


class InvalidEventError(MembersyncError):
    """An event that intake refuses; *field* is the JSON path the producer sees, *reason* one sentence."""

    code = "invalid_event"

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason


class StageError(MembersyncError):
    """One attempt of one stage failed.

    *system* is who failed (`OIC`, `CrowdTwist`, `Siebel`), *what* one sentence without any payload or secret,
    *http_status* the answer's status where there was one.
    """

    code = "stage_error"
    counts_for_breaker: ClassVar[bool] = False

    def __init__(self, system: str, what: str, http_status: int | None = None) -> None:
        super().__init__(system, what, http_status)
        self.system = system
        self.what = what
        self.http_status = http_status

    def __str__(self) -> str:
        return f"{self.system}: {self.what}"


class TransientError(StageError):
    """The same request may succeed later."""

    code = "transient"
    counts_for_breaker = True


class UnreachableError(TransientError):
    """No connection: nothing was sent."""

    code = "unreachable"


class UnavailableError(TransientError):
    """An answer that is no answer to the question: 5xx, 408, not JSON, a maintenance page, integration not active."""

    code = "unavailable"


class ThrottledError(TransientError):
    """They ask for patience: 429, or 503 with Retry-After.  *retry_after_s* is a floor in seconds, None if unsaid."""

    code = "throttled"

    def __init__(
        self, system: str, what: str, http_status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(system, what, http_status)
        self.args = (system, what, http_status, retry_after_s)
        self.retry_after_s = retry_after_s


class OutcomeUnknownError(TransientError):
    """The request was sent and no answer came: it may have been applied, or may still be."""

    code = "outcome_unknown"


class RowConflictError(TransientError):
    """Somebody else keeps changing this one record: read again and repeat.  It says nothing of the system."""

    code = "row_conflict"
    counts_for_breaker = False


class AddressPendingError(TransientError):
    """Refused for an e-mail address that another member is just giving up: tried again when that one's call ended.

    *refused* is the refusal in CrowdTwist's words, *holder* the number of the other member.
    """

    code = "address_pending"
    counts_for_breaker = False

    def __init__(self, system: str, refused: str, http_status: int | None, holder: str) -> None:
        super().__init__(
            system, f"{refused} (waits for member {holder}, whose pending change gives the address up)", http_status
        )
        self.args = (system, refused, http_status, holder)


class BudgetSpentError(StageError):
    """What the connection may be asked for is spent for now: nothing was sent, no attempt is spent.  Units: seconds."""

    code = "budget_spent"

    def __init__(
        self, system: str, more_in_s: float, what: str = "the budget of calls is spent for this minute"
    ) -> None:
        super().__init__(system, what)
        self.args = (system, more_in_s, what)
        self.more_in_s = more_in_s


class LeaseLostError(StageError):
    """The lease ran out before the call: nothing was sent, for another worker may be calling by now."""

    code = "lease_lost"

    def __init__(self, system: str) -> None:
        super().__init__(system, "the lease ran out before the call; nothing was sent")
        self.args = (system,)


class UnauthorisedError(StageError):
    """They do not accept our credentials (401/403): a matter of the connection, not of the member."""

    code = "unauthorised"
    counts_for_breaker = True


class DataError(StageError):
    """The member's own data is refused; *what* is the reason in the words of whoever refused it."""

    code = "data_error"


class LedgerError(MembersyncError):
    """Our own record could not be read or written."""

    code = "ledger"


class LedgerSlowError(LedgerError):
    """A question took longer than it may; a narrower one will not."""

    code = "too_slow"


class LedgerConflictError(LedgerError):
    """Two transactions met; this one was rolled back and may be repeated at once."""

    code = "ledger_conflict"


class LedgerUnwritableError(LedgerError):
    """The ledger can be read and not written: it is read-only, or its disk is full."""

    code = "ledger_unwritable"


class LedgerRefusedError(LedgerError):
    """The ledger does not take this: a value out of range, a rule broken, nested too deep.  Not worth repeating."""

    code = "ledger_refused"


def codes_that_count() -> list[str]:
    """Return the codes of the errors that count against a connection, in every stage alike."""
    return sorted({kind.code for kind in _failures() if kind.counts_for_breaker})


def failure_codes() -> list[str]:
    """Return every code that a failed instance can have."""
    return sorted({*(kind.code for kind in _failures()), *OURS})


def _failures() -> list[type[StageError]]:
    kinds = [StageError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return [kind for kind in kinds if not kind.__subclasses__()]


def without_kind(words: str) -> str:
    """Return what pydantic says of a value without the kind of error, which it puts before words of ours."""
    return words.removeprefix("Value error, ")


class SettingsInvalidError(ValueError):
    """The settings cannot be used; *flaws* says why, one sentence for each."""

    def __init__(self, what: str, flaws: Sequence[str]) -> None:
        super().__init__(what, flaws)
        self.what = what
        self.flaws = flaws

    def __str__(self) -> str:
        """Return all of it, as a process that ends of it prints it."""
        return "\n  ".join([self.what, *self.flaws])
