"""What can come of an attempt, as `finish` writes it: the instance advances, is parked, or ends an errand."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.instances import Call, Errand, Work
from shared.pipeline import Stage, State, SyncStatus


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an instance's activity."""

    what: str
    code: str | None = None
    took_ms: float | None = None
    calls: tuple[Call, ...] = ()


@dataclass(frozen=True, slots=True)
class Advanced:
    """The stage is done: the instance goes on to *stage* (state `running`), or has ended there.

    *facts* as in `shared.instances.Done`.
    """

    work: Work
    state: State
    stage: Stage
    status: SyncStatus | None
    error: str
    line: Line
    code: str | None = None
    failed_stage: Stage | None = None
    facts: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Parked:
    """The attempt did not succeed: the instance leaves the batch.

    Units: *delay_s* until it is due again, *report_after_s* from its first failure until Siebel is told (None: not).
    *attempt* is what the ledger counts for the stage; less than was begun when the attempt is given back.
    """

    instance_id: int
    token: int
    member_number: str
    state: State
    stage: Stage
    attempt: int
    line: Line
    delay_s: float = 0.0
    status: SyncStatus | None = None
    error: str = ""
    code: str | None = None
    failed_stage: Stage | None = None
    report_after_s: float | None = None
    lost: bool = False
    """A worker died with it alone: counts a loss."""
    apart: bool = False
    """A worker died with it in company: it goes alone from now on, so that only the one at fault is counted."""
    unsure: bool = False
    """What was called for at CrowdTwist or Siebel may have been applied, or may yet be, without our knowing."""


@dataclass(frozen=True, slots=True)
class ErrandEnded:
    """An errand is over: the instance returns to where it was.

    Units: *again_in_s* until it is repeated.  Shape: *facts* None when it failed, and is not repeated if *again_in_s*
    is None too; *unsure* as in `Parked`.
    """

    instance_id: int
    token: int
    member_number: str
    errand: Errand
    line: Line
    again_in_s: float | None = None
    facts: Mapping[str, Any] | None = None
    apart: bool = False
    unsure: bool = False


Ending = Advanced | Parked | ErrandEnded
