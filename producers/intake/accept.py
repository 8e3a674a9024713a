"""The one way in: events become instances in the ledger, by the rules of spec section 2.3.

All events of a call are judged in memory, in order, against where their members stand, and written in one transaction
of a fixed number of statements.  When `accept` returns, what it says is committed.

Whatever decides when - an event's arrival, whether it lies in the future - is the ledger's clock, never the caller's.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import chain, islice
from typing import Any, Self

from producers.intake.formats import Position
from producers.intake.refused import RefusedEventError
from shared.errors import InvalidEventError, LedgerError
from shared.events import MemberEvent, Operation, Version, content_hash, derived_event_id, dump_event, event_hash
from shared.ledger import acceptance, refusals, views
from shared.ledger.acceptance import Known, Newest, NewInstance, Queued, Standing
from shared.ledger.engine import Ledger, Transaction, repeated, statements, transaction, wake
from shared.ledger.jobs import Action, record
from shared.ledger.refusals import Refusal
from shared.ledger.transitions import member_queue
from shared.masking import mask_text
from shared.pipeline import Lane, Origin, State

OLDER = "older than the newest event of the member"
_INDIVIDUAL = "individual"
_IDS_FILED = 50
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


NOT_GOOD = frozenset({Outcome.REFUSED, Outcome.CONFLICT})


@dataclass(slots=True)
class Sender:
    """Whose events a request or file brings, and how many refusals of it may still be kept singly.

    Shape: *name* of the token or user; *source* the request's id, or the file's name.
    """

    name: str = ""
    source: str = ""
    room: int = 100


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a request or file brings: each event, or why it cannot be taken, with its position."""

    items: Sequence[Position]
    sender: Sender


@dataclass(frozen=True, slots=True)
class IntakeRules:
    """What intake depends on beside the events.

    Shape: *lane* that of events which name none; *program_id* the programme to sync, empty for all; *forced_by* the
    name and role of an operator, whose `force` goes before order and is recorded; anybody else's sends what is
    unchanged.  *origin* that of events which no producer sent.  Units: *future_s* seconds that one may lie ahead.
    """

    lane: Lane
    program_id: str = ""
    future_s: float = 300.0
    forced_by: tuple[str, str] | None = None
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one event comes to."""

    outcome: Outcome
    reason: str | None = None
    begins: bool = False
    """It begins a new sequence of its member."""


@dataclass(slots=True)
class _Arrival:
    """One good event on its way through intake."""

    position: int
    event: MemberEvent
    event_id: str
    event_hash: bytes
    dumped: dict[str, Any]
    """Its canonical form, with its id; of an event that occurred on arrival as of the time when it was read."""

    @classmethod
    def of(cls, position: int, event: MemberEvent) -> Self:
        """Name and hash an event."""
        dumped = dump_event(event)
        hashed = event_hash(event, dumped)
        event_id = dumped["event_id"] = event.event_id or derived_event_id(hashed)
        return cls(position, event, event_id, hashed, dumped)


def accept(
    ledger: Ledger, items: Iterable[Position], rules: IntakeRules, sender: Sender | None = None
) -> list[Receipt]:
    """Take events in; return one receipt each, by position.  What is refused is kept, masked, and all is counted.

    Raises:
        LedgerError: nothing was stored.
    """
    return accept_together(ledger, [Delivery(list(items), sender or Sender())], rules)[0]


def accept_together(ledger: Ledger, deliveries: Sequence[Delivery], rules: IntakeRules) -> list[list[Receipt]]:
    """Take several deliveries in, one after the other, in one transaction; return the receipts of each.

    Raises:
        LedgerError: nothing was stored.
    """
    arrivals = [
        [_Arrival.of(position, item) for position, item in one.items if not isinstance(item, InvalidEventError)]
        for one in deliveries
    ]

    def commit() -> list[list[Receipt]]:
        with transaction(ledger) as tx:
            judged = iter(_take(tx, list(chain.from_iterable(arrivals)), rules) if any(arrivals) else [])
            receipts = [
                _answered(one, islice(judged, len(good))) for one, good in zip(deliveries, arrivals, strict=True)
            ]
            for one, answered in zip(deliveries, receipts, strict=True):
                _keep_refused(tx, answered, one)
            refusals.count(tx, Counter(receipt.outcome for answered in receipts for receipt in answered))
        return receipts

    if not any(one.items for one in deliveries):
        return [[] for _ in deliveries]
    receipts = repeated(commit)
    if any(receipt.outcome is Outcome.ACCEPTED for answered in receipts for receipt in answered):
        with suppress(LedgerError), statements(ledger) as tx:  # who is not woken looks at the next tick
            wake(tx)
    for one, answered in zip(deliveries, receipts, strict=True):
        one.sender.room = max(0, one.sender.room - sum(receipt.outcome in NOT_GOOD for receipt in answered))
    return receipts


def _answered(delivery: Delivery, judged: Iterable[Receipt]) -> list[Receipt]:
    """Return the receipts of a delivery by position: those of its good events, and one for each of the others."""
    receipts = list(judged)
    for position, error in delivery.items:
        if isinstance(error, InvalidEventError):
            number = error.member_number if isinstance(error, RefusedEventError) else None
            receipts.append(Receipt(position, Outcome.REFUSED, None, None, number, error.field, error.reason))
    return sorted(receipts, key=lambda receipt: receipt.position)


def member_of(ledger: Ledger, row_id: str) -> str | None:
    """Return whose a ROW_ID is, as far as the ledger knows.

    Raises:
        LedgerError: it cannot be asked.
    """
    with transaction(ledger) as tx:
        return views.member_of(tx, row_id)


def refuse_whole(ledger: Ledger, error: InvalidEventError, sender: Sender) -> None:
    """Keep that a whole request or file could not be read; it counts as one event.

    Raises:
        LedgerError: it is not kept.
    """
    kept = Refusal(Outcome.REFUSED, None, None, error.field, error.reason, None, None)
    with transaction(ledger) as tx:
        refusals.keep(tx, sender.name, sender.source, [kept], more=0)
        refusals.count(tx, {Outcome.REFUSED: 1})


def _keep_refused(tx: Transaction, receipts: Sequence[Receipt], delivery: Delivery) -> None:
    """Keep what of a delivery was refused, as far as there is room for it."""
    bad = [receipt for receipt in receipts if receipt.outcome in NOT_GOOD]
    if not bad:
        return
    errors, sender = dict(delivery.items), delivery.sender
    kept = []
    for receipt in bad[: sender.room]:
        error = errors[receipt.position]
        line, excerpt = (error.line, error.excerpt) if isinstance(error, RefusedEventError) else (None, None)
        field, reason = mask_text(receipt.field or ""), mask_text(receipt.reason or "")
        kept.append(Refusal(receipt.outcome, receipt.position, line, field, reason, receipt.member_number, excerpt))
    refusals.keep(tx, sender.name, sender.source, kept, more=len(bad) - len(kept))


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
    row_id = _own_row(event, standing)
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


def _take(tx: Transaction, arrivals: Sequence[_Arrival], rules: IntakeRules) -> list[Receipt]:
    members = [arrival.event.member.member_number for arrival in arrivals]
    acceptance.lock_members(tx, members)
    known = acceptance.known_events(tx, [arrival.event_id for arrival in arrivals])
    standings = acceptance.standings(tx, members)
    # Which of the rows that events name are known as other members' is added to where each member stands.
    named = [arrival.event.member for arrival in arrivals if arrival.event.member.row_id]
    claims = {one.row_id for one in named if one.row_id != standings[one.member_number].row_id}
    owners = acceptance.row_owners(tx, list(claims)) if claims else {}
    if owners:
        for number, standing in standings.items():
            standing.foreign_rows = frozenset(row for row, owner in owners.items() if owner != number)
    ids, now = acceptance.take_ids(tx, len(arrivals))
    desk = _Desk(known, standings, rules, now)
    receipts = [desk.take(arrival, instance_id) for arrival, instance_id in zip(arrivals, ids, strict=True)]
    member_queue.supersede(tx, desk.overtaken)
    acceptance.insert(tx, desk.instances, desk.events, list(desk.newest.values()), now)
    member_queue.inherit(tx, desk.failing)
    if rules.forced_by and desk.forced:
        _record_forced(tx, rules.forced_by, desk.forced, receipts)
    return receipts


def _own_row(event: MemberEvent, standing: Standing) -> str:
    """Return the row that an event names, if it can be its member's."""
    return "" if event.member.row_id in standing.foreign_rows else event.member.row_id


def _record_forced(
    tx: Transaction, forced_by: tuple[str, str], forced: Sequence[str], receipts: Sequence[Receipt]
) -> None:
    """File what an operator forced, in the transaction that takes it in."""
    counts = Counter(receipt.outcome.value for receipt in receipts if receipt.instance_id in forced)
    answer = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    asked: dict[str, object] = {"ids": list(forced[:_IDS_FILED])}
    if len(forced) > _IDS_FILED:
        asked["and_more"] = len(forced) - _IDS_FILED
    record(tx, Action(*forced_by, "force", answer, asked=asked, count=len(forced)))


class _Desk:
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

    def take(self, arrival: _Arrival, instance_id: int) -> Receipt:
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
        judgement = self._judged(arrival, event, instance_id)
        taken = judgement.outcome, arrival.event_id, str(instance_id), number, None, judgement.reason
        return Receipt(arrival.position, *taken)

    def _judged(self, arrival: _Arrival, event: MemberEvent, instance_id: int) -> Judgement:
        """Judge an event that is new, and note its instance."""
        self._known[arrival.event_id] = Known(instance_id, arrival.event_hash)
        content = content_hash(event)
        standing = self._standings[event.member.member_number]
        judgement = judge(event, standing, content, self._rules)
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
        is_whole = not event.occurred_on_arrival
        self.events.append(arrival.dumped if is_whole else {**dump_event(event), "event_id": arrival.event_id})
        self._fresh[instance_id] = len(self.instances)
        self.instances.append(instance)
        if event.force and self._rules.forced_by:
            self.forced.append(str(instance_id))
        if judgement.outcome in {Outcome.ACCEPTED, Outcome.UNCHANGED}:
            self._move_on(event, instance_id, standing, judgement)
        return judgement

    def _move_on(self, event: MemberEvent, instance_id: int, standing: Standing, judgement: Judgement) -> None:
        """Make *event* its member's newest; the one that was queued before it is overtaken."""
        is_queued = judgement.outcome is Outcome.ACCEPTED
        is_failing = standing.queued is not None and standing.queued.failing
        if standing.queued is not None:
            self._overtake(standing.queued, instance_id, inherits=is_queued)
        version = event.version
        standing.newest = version
        standing.newest_operation = event.operation
        standing.row_id = _own_row(event, standing) or standing.row_id
        standing.sequence_from = version.occurred_at if judgement.begins else standing.sequence_from
        standing.queued = Queued(instance_id, is_failing) if is_queued else None
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
        )

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
