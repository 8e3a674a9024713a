"""What an incident is about, when a cause is one, and by what it is known again.  Pure."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

_DIGITS = 8


class IncidentKind(StrEnum):
    """What an incident is about."""

    CONNECTION = "connection"
    """A connection that was down."""
    CAUSE = "cause"
    """A stage that ended many members for good by one code, while its connection was up."""


@dataclass(frozen=True, slots=True)
class IncidentRules:
    """When a cause is an incident, and how long one stays reversible.

    Units: *flap_s*, *window_s* seconds.  Shape: more than *count* members ended by a code within the window, and more
    than *share* of those whom the stage decided on; *count* 0: no cause is ever one.
    """

    flap_s: float
    count: int
    share: float
    window_s: float


def fingerprint(stage: str, kind: IncidentKind, said: str) -> str:
    """Return what is the same of all incidents of one cause: the stage, a dash, eight hexadecimal digits."""
    return f"{stage}-{hashlib.sha256(f'{kind} {stage} {said}'.encode()).hexdigest()[:_DIGITS]}"
