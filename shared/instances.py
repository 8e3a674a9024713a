"""An instance as the workers see it: what they are handed, and what they give back.

`begin` in the ledger hands out a `Work` for each instance of a batch that is really at this stage.  The stage answers
each with one `Result`; `attempt` in `workers/tasks.py` turns it into what the ledger writes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar, dataclass_transform

from shared.errors import StageError
from shared.pipeline import Lane, SyncStatus

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def unchanging(cls: type[T]) -> type[T]:
    """Make a slotted dataclass whose instances nobody changes; the type checker sees to that, the interpreter does not.

    For what is made for each event at each stage: checked at run time too, it takes nine times as long to make.
    """
    return dataclass(slots=True)(cls)


class Errand(StrEnum):
    """What is called for beside an instance's own way through the stages (`transitions.errands`)."""

    REPORT = "report"
    """Tell Siebel of a failure that is still being retried, or of a dead letter."""
    READ_BACK = "read_back"
    """See in CrowdTwist whether a lost older write landed late, and repeat the newest if so."""
    PROBE = "probe"
    """Repeat what was acknowledged last, to see whether the system serves."""
    TELL_AGAIN = "tell_again"
    """Tell Siebel once more what it was told last: a lost older status may have landed late."""
    RESEND = "resend"
    """Send CrowdTwist once more what it acknowledged last, if it has the member still; an operator's job wants it."""
    RECREATE = "recreate"
    """The same, and create the member again where CrowdTwist has it no longer."""
    PARK = "park"
    """Send what was acknowledged last with another e-mail address, so that a cycle comes loose."""


@unchanging
class Work:
    """One instance at one attempt of one stage.

    Shape: *event* is the member event as accepted (`shared.events`, JSON form); *user* the CrowdTwist user object that
    the oic stage made of it, None before; *status* and *error* what is to be told to Siebel, None before it is known.
    """

    instance_id: int
    token: int
    attempt: int
    member_number: str
    operation: str
    event: Mapping[str, Any]
    user: Mapping[str, Any] | None = None
    row_id: str | None = None
    """Proven: Siebel showed this row with this Member Number."""
    claimed_row_id: str | None = None
    """What the newest event says its row is; another member's, perhaps."""
    ct_user_id: int | None = None
    known_in_crowdtwist: bool = False
    unknown_outcome: bool = False
    """An earlier create got no answer: probe by third_party_id before sending it again."""
    errand: Errand | None = None
    """What it is called for beside its own way through the stages; None: for that."""
    errand_id: int = 0
    """Below zero; 0 without an errand."""
    lane: Lane = Lane.LIVE
    suspect: bool = False
    """It failed at this stage while the system served others."""
    must_call: bool = False
    """It is out to see whether the system serves: what needs no call is said all the same."""
    status: SyncStatus | None = None
    error: str = ""
    told_status: str | None = None
    told_error: str | None = None
    told_of_this: bool = False
    """What Siebel was told last is of the content that this instance has too."""
    traceparent: str = ""
    """The place in its trace that its event came with; mostly none."""


GOOD = range(200, 300)
"""The HTTP statuses that say that it went well."""


@unchanging
class Call:
    """One HTTP exchange for the instance's activity.  PII and secrets are masked before it gets here.

    Units: *took_ms* milliseconds.  *http_status* None: no answer.
    """

    method: str
    url: str
    http_status: int | None
    took_ms: float
    request: Any = None
    response: Any = None


@unchanging
class Done:
    """The stage succeeded.

    Shape: *what* one sentence without PII.  *facts* is what it learned: oic `user` and `oic_instance_id`; crowdtwist
    `ct_user_id` and `echoed`, what it showed of the synced fields; siebel `row_id`, `told_status`, `told_error`.
    """

    what: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    calls: tuple[Call, ...] = ()
    took_ms: float = 0.0


@unchanging
class Failed:
    """The stage failed for this instance; the error's class says what is done about it.

    Shape: *facts* of crowdtwist: `unknown_outcome`, when a write may have been applied without our knowing.
    """

    error: StageError
    facts: Mapping[str, Any] = field(default_factory=dict)
    calls: tuple[Call, ...] = ()
    took_ms: float = 0.0

    def __post_init__(self) -> None:
        """Let go of where the error was raised, and on what: frames there hold the member, and the error itself."""
        self.error.__traceback__ = self.error.__context__ = None


Result = Done | Failed


Answer = tuple[Work, Result | BaseException]
"""What came of one member; an exception is a bug of ours."""
