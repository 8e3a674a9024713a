"""What becomes of events that arrive: each judged in memory, in order, by the rules of spec section 2.3.

`Desk` has where the members of one call stand, and moves them on; what it notes is written by `accept`, all at once.
Whatever decides when - an event's arrival, whether it lies in the future - is the ledger's clock, never the caller's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from shared.events import MemberEvent, Operation, Version, content_hash, derived_event_id, dump_event, event_hash
from shared.ledger.acceptance import Known, Newest, NewInstance, Queued, Standing
from shared.lifecycle.mass_changes import ChangeRules, shown, spared_by
from shared.pipeline import Lane, Origin, State
from shared.settings import Settings

OLDER = "older than the newest event of the member"
_INDIVIDUAL = "individual"
_FORGOTTEN = "the member was forgotten after it occurred; only what occurs later is taken in"
_USED_BEFORE = "this event_id was used before, for an event with other content; the first stands"


class Outcome(StrEnum):
    """What intake did with an event."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    SKIPPED = "skipped"
    SUPERSEDED = "superseded"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to one event; *position* counts from 0.  Shape: spec section 2.3."""

    position: int
    outcome: Outcome
    event_id: str | None = None
    instance_id: str | None = None
    member_number: str | None = None
    field: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Unnamed(Receipt):
    """The answer to an event of which not even the Member Number is to be kept."""


@dataclass(frozen=True, slots=True)
class IntakeRules:
    """What intake depends on beside the events.

    Shape: *lane* that of events which name none; *program_id* the programme to sync, empty for all; *forced_by* the
    name and role of an operator, whose `force` goes before order and is recorded; anybody else's sends what is
    unchanged.  *origin* that of events which no producer sent; *changes* when a mass change is held, None: never.
    Units: *future_s* seconds that one may lie ahead.
    """

    lane: Lane
    program_id: str = ""
    future_s: float = 300.0
    forced_by: tuple[str, str] | None = None
    origin: Origin | None = None
    changes: ChangeRules | None = None
    spared: int = 0
    """Bits of fields that an event does not clear: `MEMBERSYNC_OIC__NULLS` has something else sent of them."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        lane: Lane,
        *,
        forced_by: tuple[str, str] | None = None,
        origin: Origin | None = None,
    ) -> Self:
        """Return the rules as *settings* have them."""
        guard = settings.guard
        spared = spared_by(settings.oic.nulls) if settings.oic.mode == "builtin" else 0
        return cls(lane, settings.program_id, guard.future_s, forced_by, origin, guard.change_rules, spared)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one event comes to."""

    outcome: Outcome
    reason: str | None = None
    begins: bool = False
    """It begins a new sequence of its member."""


@dataclass(slots=True)
class Arrival:
    """One good event on its way through intake."""

    position: int
    event: MemberEvent
    event_id: str
    event_hash: bytes
    dumped: dict[str, Any]
    """Its canonical form, with its id; of an event that occurred on arrival as of the time when it was read."""
    traceparent: str = ""

    @classmethod
    def of(cls, position: int, event: MemberEvent, traceparent: str = "") -> Self:
        """Name and hash an event."""
        dumped = dump_event(event)
        hashed = event_hash(event, dumped)
        event_id = dumped["event_id"] = event.event_id or derived_event_id(hashed)
        return cls(position, event, event_id, hashed, dumped, traceparent)


def judge(event: MemberEvent, standing: Standing, content: bytes, rules: IntakeRules) -> Judgement:
    """Apply rules 3 to 6 to an event that is no duplicate.  Pure."""
    if rules.program_id and event.member.program_id != rules.program_id:
        return Judgement(Outcome.SKIPPED, "the member is not in the programme that is synced")
    if event.member.member_type and event.member.member_type.casefold() != _INDIVIDUAL:
        return Judgement(Outcome.SKIPPED, f"a {event.member.member_type}, and only Individuals are synced")
    begins = begins_sequence(event, standing)
    if is_overtaken(event, standing, begins=begins):
        if not (event.force and rules.forced_by):
            return Judgement(Outcome.SUPERSEDED, OLDER)
        begins = True
    is_same = standing.synced and standing.applied_hash == content and not standing.running and not begins
    if is_same and not event.force:
        return Judgement(Outcome.UNCHANGED, "CrowdTwist has accepted this content already", begins)
    return Judgement(Outcome.ACCEPTED, begins=begins)


def begins_sequence(event: MemberEvent, standing: Standing) -> bool:
    """Return whether Siebel counts anew from here: another row for the member, or an enrolment after a deletion."""
    row_id = own_row(event, standing)
    is_another_row = bool(row_id and standing.row_id and row_id != standing.row_id)
    return is_another_row or (event.operation is Operation.ENROLL and standing.newest_operation == Operation.DELETE)


def is_overtaken(event: MemberEvent, standing: Standing, *, begins: bool) -> bool:
    """Return whether the member has a newer event.  Between two sequences the clock compares, never modifications."""
    newest = standing.newest
    if newest is None:
        return False
    version = event.version
    if standing.sequence_from is not None and version.is_before(Version(None, standing.sequence_from)):
        return True
    return version.is_before(newest) if begins else version.is_older_than(newest)


def own_row(event: MemberEvent, standing: Standing) -> str:
    """Return the row that an event names, if it can be its member's."""
    return "" if event.member.row_id in standing.foreign_rows else event.member.row_id


class Desk:
    """Judges the events of one call in order, each against what those before it changed."""

    def __init__(
        self, known: Mapping[str, Known], standings: Mapping[str, Standing], rules: IntakeRules, now: datetime
    ) -> None:
        self._known = dict(known)
        self._standings = dict(standings)
        self._rules = rules
        self._now = now
        self._fresh: dict[int, int] = {}
        self.instances: list[NewInstance] = []
        self.events: list[dict[str, Any]] = []
        self.newest: dict[str, Newest] = {}
        self.overtaken: dict[int, int] = {}
        self.failing: dict[int, int] = {}
        self.forced: list[str] = []
        self.forgotten: list[str] = []

    def take(self, arrival: Arrival, instance_id: int) -> Receipt:
        """Judge one event and note what is to be written for it."""
        event, number = arrival.event.arrived(self._now), arrival.event.member.member_number
        known = self._known.get(arrival.event_id)
        if known is not None:
            first = str(known.instance_id)
            if known.event_hash == arrival.event_hash:
                return Receipt(arrival.position, Outcome.DUPLICATE, arrival.event_id, first, number)
            conflict = Outcome.CONFLICT, arrival.event_id, first, number, "event_id", _USED_BEFORE
            return Receipt(arrival.position, *conflict)
        if event.occurred_at > self._now + timedelta(seconds=self._rules.future_s):
            ahead_s, limit_s = (event.occurred_at - self._now).total_seconds(), self._rules.future_s
            reason = f"lies {ahead_s:.0f} s in the future, more than MEMBERSYNC_GUARD__FUTURE_S ({limit_s:g}) allows"
            refusal = Outcome.REFUSED, arrival.event_id, None, number, "occurred_at", reason
            return Receipt(arrival.position, *refusal)
        forgotten_until = self._standings[number].forgotten_until
        if forgotten_until is not None and event.occurred_at <= forgotten_until:
            self.forgotten.append(number)
            refusal = Outcome.REFUSED, arrival.event_id, None, number, "occurred_at", _FORGOTTEN
            return Unnamed(arrival.position, *refusal)
        judgement = self._judged(arrival, event, instance_id)
        taken = judgement.outcome, arrival.event_id, str(instance_id), number, None, judgement.reason
        return Receipt(arrival.position, *taken)

    def _judged(self, arrival: Arrival, event: MemberEvent, instance_id: int) -> Judgement:
        """Judge an event that is new, and note its instance."""
        self._known[arrival.event_id] = Known(instance_id, arrival.event_hash)
        content = content_hash(event)
        standing = self._standings[event.member.member_number]
        judgement = judge(event, standing, content, self._rules)
        had = standing.had
        shows = shown(event, had)
        taken = 0 if had is None else had & ~shows & ~self._rules.spared
        cleared = taken if judgement.outcome is Outcome.ACCEPTED else 0
        instance = NewInstance(
            instance_id=instance_id,
            event_id=arrival.event_id,
            event_hash=arrival.event_hash,
            content_hash=content,
            member_number=event.member.member_number,
            operation=event.operation,
            lane=event.lane or self._rules.lane,
            origin=self._rules.origin,
            modification=event.modification,
            occurred_at=event.occurred_at,
            state=State.PENDING if judgement.outcome is Outcome.ACCEPTED else State(judgement.outcome),
            reason=judgement.reason,
        )
        if cleared:
            instance["cleared"] = cleared
        if arrival.traceparent:
            instance["traceparent"] = arrival.traceparent
        is_whole = not event.occurred_on_arrival
        self.events.append(arrival.dumped if is_whole else {**dump_event(event), "event_id": arrival.event_id})
        self._fresh[instance_id] = len(self.instances)
        self.instances.append(instance)
        if event.force and self._rules.forced_by:
            self.forced.append(str(instance_id))
        if judgement.outcome in {Outcome.ACCEPTED, Outcome.UNCHANGED}:
            standing.shown = shows
            self._move_on(event, instance_id, standing, judgement, cleared)
        return judgement

    def _move_on(
        self, event: MemberEvent, instance_id: int, standing: Standing, judgement: Judgement, cleared: int
    ) -> None:
        """Make *event* its member's newest; the one that was queued before it is overtaken."""
        is_queued = judgement.outcome is Outcome.ACCEPTED
        is_failing = standing.queued is not None and standing.queued.failing
        if standing.queued is not None:
            self._overtake(standing.queued, instance_id, inherits=is_queued)
        version = event.version
        standing.newest = version
        standing.newest_operation = event.operation
        standing.row_id = own_row(event, standing) or standing.row_id
        standing.sequence_from = version.occurred_at if judgement.begins else standing.sequence_from
        standing.queued = Queued(instance_id, is_failing, cleared) if is_queued else None
        number = event.member.member_number
        self.newest[number] = Newest(
            member_number=number,
            instance_id=instance_id,
            operation=event.operation,
            modification=version.modification,
            occurred_at=version.occurred_at,
            occurred_until=version.occurred_until,
            row_id=standing.row_id,
            sequence_from=standing.sequence_from,
            email=event.member.email_address,
            shown=standing.shown,
        )

    def clearing(self) -> dict[int, int]:
        """Return the instances that take something from their members, and what, as bits."""
        going = (one for one in self.instances if one["state"] is State.PENDING)
        return {one["instance_id"]: one["cleared"] for one in going if "cleared" in one}

    def _overtake(self, queued: Queued, instance_id: int, *, inherits: bool) -> None:
        index = self._fresh.get(queued.instance_id)
        if index is None:
            self.overtaken[queued.instance_id] = instance_id
            if queued.failing and inherits:
                self.failing[queued.instance_id] = instance_id
            return
        # It came in this same call: it is written as superseded at once, and who it overtook now has a newer heir.
        self.instances[index] |= {"state": State.SUPERSEDED, "reason": f"overtaken by instance {instance_id}"}
        for older, heir in self.failing.items():
            if heir == queued.instance_id:
                self.failing[older] = instance_id
