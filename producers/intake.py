"""The one way in: events become instances in the ledger, by the rules of spec section 2.3.

All events of a call are judged in memory, in order, against where their members stand, and written in one transaction
of a fixed number of statements.  When `accept` returns, what it says is committed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from shared.errors import InvalidEventError
from shared.events import MemberEvent, Version, content_hash, derived_event_id, dump_event, event_hash
from shared.ledger import acceptance
from shared.ledger.acceptance import Known, Newest, NewInstance, Queued, Standing
from shared.ledger.engine import Ledger, repeated, transaction, wake
from shared.pipeline import Lane, State

_INDIVIDUAL = "individual"


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


Item = tuple[int, MemberEvent | InvalidEventError]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one event comes to."""

    outcome: Outcome
    reason: str | None = None


@dataclass(slots=True)
class _Arrival:
    """One good event on its way through intake."""

    position: int
    event: MemberEvent
    event_id: str
    event_hash: bytes


def accept(ledger: Ledger, items: Iterable[Item], *, lane: Lane, program_id: str, now: datetime) -> list[Receipt]:
    """Take events in; give one receipt each, by position.

    *lane* is that of events which name none; *program_id* the programme to sync, empty for all.

    Raises:
        LedgerError: nothing was stored.
    """
    receipts: list[Receipt] = []
    arrivals: list[_Arrival] = []
    for position, item in items:
        if isinstance(item, InvalidEventError):
            receipts.append(Receipt(position, Outcome.REFUSED, field=item.field, reason=item.reason))
        else:
            arrivals.append(_Arrival(position, item, item.event_id or derived_event_id(item), event_hash(item)))
    if arrivals:
        receipts.extend(repeated(lambda: _commit(ledger, arrivals, lane, program_id, now)))
    return sorted(receipts, key=lambda receipt: receipt.position)


def judge(event: MemberEvent, standing: Standing, content: bytes, program_id: str) -> Judgement:
    """Apply rules 3 to 6 to an event that is no duplicate.  Pure."""
    if program_id and event.member.program_id != program_id:
        return Judgement(Outcome.SKIPPED, "the member is not in the programme that is synced")
    if event.member.member_type and event.member.member_type.casefold() != _INDIVIDUAL:
        return Judgement(Outcome.SKIPPED, f"a {event.member.member_type}, and only Individuals are synced")
    if standing.newest_occurred_at is not None:
        newest = Version(standing.newest_modification, standing.newest_occurred_at)
        if event.version.is_older_than(newest):
            return Judgement(Outcome.SUPERSEDED, "older than the newest event of the member")
    is_same = standing.synced and standing.applied_hash == content and not standing.running
    if is_same and not event.force:
        return Judgement(Outcome.UNCHANGED, "CrowdTwist has accepted this content already")
    return Judgement(Outcome.ACCEPTED)


def _commit(ledger: Ledger, arrivals: Sequence[_Arrival], lane: Lane, program_id: str, now: datetime) -> list[Receipt]:
    with transaction(ledger) as connection:
        members = [arrival.event.member.member_number for arrival in arrivals]
        acceptance.lock_members(connection, members)
        known = acceptance.known_events(connection, [arrival.event_id for arrival in arrivals])
        standings = acceptance.standings(connection, members)
        ids = acceptance.take_ids(connection, len(arrivals))
        desk = _Desk(known, standings, lane, program_id)
        receipts = [desk.take(arrival, instance_id) for arrival, instance_id in zip(arrivals, ids, strict=True)]
        acceptance.supersede(connection, desk.overtaken)
        acceptance.insert(connection, desk.instances, now)
        acceptance.inherit(connection, desk.failing)
        acceptance.set_newest(connection, list(desk.newest.values()))
        if any(receipt.outcome is Outcome.ACCEPTED for receipt in receipts):
            wake(connection)
    return receipts


class _Desk:
    """Judges the events of one call in order, each against what those before it changed."""

    def __init__(
        self, known: Mapping[str, Known], standings: Mapping[str, Standing], lane: Lane, program_id: str
    ) -> None:
        self._known = dict(known)
        self._standings = dict(standings)
        self._lane = lane
        self._program_id = program_id
        self._fresh: dict[int, int] = {}
        self.instances: list[NewInstance] = []
        self.newest: dict[str, Newest] = {}
        self.overtaken: dict[int, int] = {}
        self.failing: dict[int, int] = {}

    def take(self, arrival: _Arrival, instance_id: int) -> Receipt:
        """Judge one event and note what is to be written for it."""
        event, number = arrival.event, arrival.event.member.member_number
        known = self._known.get(arrival.event_id)
        if known is not None:
            return self._known_already(arrival, known)
        self._known[arrival.event_id] = Known(instance_id, arrival.event_hash)
        content = content_hash(event)
        standing = self._standings[number]
        judgement = judge(event, standing, content, self._program_id)
        self._fresh[instance_id] = len(self.instances)
        self.instances.append(self._instance(arrival, instance_id, content, judgement))
        if judgement.outcome in {Outcome.ACCEPTED, Outcome.UNCHANGED}:
            self._move_on(event, instance_id, standing, judgement)
        return Receipt(
            arrival.position,
            judgement.outcome,
            arrival.event_id,
            str(instance_id),
            number,
            reason=judgement.reason,
        )

    def _known_already(self, arrival: _Arrival, known: Known) -> Receipt:
        receipt = Receipt(
            arrival.position,
            Outcome.DUPLICATE,
            arrival.event_id,
            str(known.instance_id),
            arrival.event.member.member_number,
        )
        if known.event_hash == arrival.event_hash:
            return receipt
        reason = "this event_id was used before, for an event with other content; the first stands"
        return replace(receipt, outcome=Outcome.CONFLICT, field="event_id", reason=reason)

    def _instance(self, arrival: _Arrival, instance_id: int, content: bytes, judgement: Judgement) -> NewInstance:
        event = arrival.event
        return NewInstance(
            instance_id=instance_id,
            event_id=arrival.event_id,
            event_hash=arrival.event_hash,
            content_hash=content,
            member_number=event.member.member_number,
            operation=event.operation,
            lane=event.lane or self._lane,
            modification=event.modification,
            occurred_at=event.occurred_at,
            state=State.PENDING if judgement.outcome is Outcome.ACCEPTED else State(judgement.outcome),
            reason=judgement.reason,
            event={**dump_event(event), "event_id": arrival.event_id},
        )

    def _move_on(self, event: MemberEvent, instance_id: int, standing: Standing, judgement: Judgement) -> None:
        """Make *event* its member's newest; the one that was queued before it is overtaken."""
        number = event.member.member_number
        if standing.queued is not None:
            self._overtake(standing.queued, instance_id, inherits=judgement.outcome is Outcome.ACCEPTED)
        self.newest[number] = Newest(
            number, instance_id, event.modification, event.occurred_at, event.member.row_id or None
        )
        is_queued = judgement.outcome is Outcome.ACCEPTED
        is_failing = standing.queued is not None and standing.queued.failing
        self._standings[number] = replace(
            standing,
            newest_modification=event.modification,
            newest_occurred_at=event.occurred_at,
            queued=Queued(instance_id, is_failing) if is_queued else None,
        )

    def _overtake(self, queued: Queued, instance_id: int, *, inherits: bool) -> None:
        index = self._fresh.get(queued.instance_id)
        if index is None:
            self.overtaken[queued.instance_id] = instance_id
            if queued.failing and inherits:
                self.failing[queued.instance_id] = instance_id
            return
        # It came in this same call: it is written as superseded at once, and who it overtook now has a newer heir.
        self.instances[index] = replace(
            self.instances[index], state=State.SUPERSEDED, reason=f"overtaken by instance {instance_id}"
        )
        for older, heir in self.failing.items():
            if heir == queued.instance_id:
                self.failing[older] = instance_id
