"""Jobs: a requeue or discard that an operator asked for, in the words of ledger, api and command line.

A job is durable and belongs to nobody: whichever dispatcher is alive carries it on.  A requeue goes in steps, first 1,
then 10, then the rest, and stops by itself when more than half of a step fails again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from shared.pipeline import QUEUED, State


class Kind(StrEnum):
    """What a job does with its instances."""

    REQUEUE = "requeue"
    DISCARD = "discard"


class JobState(StrEnum):
    """Where a job is in its life.  `planned`: nobody has begun it yet; `stopped`: by itself or by an operator."""

    PLANNED = "planned"
    RUNNING = "running"
    STOPPED = "stopped"
    DONE = "done"


class Verdict(StrEnum):
    """What is to become of one instance."""

    SEND = "send"
    """Sent on from the stage that failed."""
    SUPERSEDED = "superseded"
    """Closed: a newer event of the member succeeded."""
    MERGED = "merged"
    """Closed: a newer event of the member is on its way."""
    DISCARD = "discard"
    REFUSED = "refused"


class ItemState(StrEnum):
    """How far a job is with one instance."""

    PLANNED = "planned"
    SENT = "sent"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Failed again; it may still be waiting for another attempt of its policy."""
    PUT_BACK = "put_back"
    """As it was before, because the job stopped."""
    CLOSED = "closed"
    """Superseded or discarded, by this job or while it was on its way."""
    REFUSED = "refused"


REQUEUED_FROM: tuple[State, ...] = (State.DEAD, State.REJECTED)
DISCARDED_FROM: tuple[State, ...] = (State.DEAD, State.REJECTED, *QUEUED)


@dataclass(frozen=True, slots=True)
class Item:
    """One instance of a plan or job.

    *reason* says why it is not simply sent; *newer_instance_id* is the other instance of the member that decided it.
    """

    instance_id: str
    member_number: str
    verdict: str
    reason: str
    newer_instance_id: str | None
    state: str = ItemState.PLANNED


@dataclass(frozen=True, slots=True)
class Reason:
    """How many instances of a plan share a verdict and the reason for it."""

    verdict: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What would become of a selection.

    Shape: *counts* has every verdict of the kind; *items* are the first of each verdict, those not sent before those
    that are; the whole list stands in the job.
    """

    kind: str
    matched: int
    counts: Mapping[str, int]
    reasons: Sequence[Reason]
    items: Sequence[Item]

    @property
    def touched(self) -> int:
        """How many instances it would change."""
        return self.matched - self.counts[Verdict.REFUSED]


@dataclass(frozen=True, slots=True)
class Job:
    """A job and how far it is.

    Shape: *asked* is the selection as it was asked for: `filter`, or the first `ids` and how many there are beside
    them, `and_more`.  *counts* has every `ItemState`; *troubled* are the first of those that failed again or were
    refused.  *step* 1: the first, 2: ten, 3: the rest.
    """

    job_id: str
    kind: str
    state: str
    requested_by: str
    reason: str
    asked: Mapping[str, Any]
    from_start: bool
    forced: bool
    rate_per_minute: int | None
    step: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    stopped_why: str | None
    total: int
    counts: Mapping[str, int]
    troubled: Sequence[Item] = ()

    @property
    def over(self) -> bool:
        """Whether nothing of it is on its way any more."""
        return self.ended_at is not None


@dataclass(frozen=True, slots=True)
class JobPage:
    """Jobs, newest first; *next* is the cursor of the page after this one, None at the end."""

    items: list[Job]
    next: str | None
