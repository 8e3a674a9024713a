"""The one way in: events become instances in the ledger, by the rules of spec section 2.3.

All events of a call are judged in memory (`producers.intake.judging`) against where their members stand, and written in
one transaction of a fixed number of statements; a few more where some of them look like part of a mass change.  When
`accept` returns, what it says is committed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, count, islice

from producers.intake.formats import Position
from producers.intake.judging import Arrival, Desk, IntakeRules, Outcome, Receipt, Unnamed
from producers.intake.refused import RefusedEventError
from shared.errors import InvalidEventError, LedgerError
from shared.ledger import acceptance, refusals, views
from shared.ledger.audit import Action, record
from shared.ledger.engine import Ledger, Transaction, repeated, statements, transaction, wake
from shared.ledger.refusals import Refusal
from shared.ledger.transitions import mass_changes, member_queue
from shared.masking import mask_text

__all__ = ["NOT_GOOD", "Delivery", "IntakeRules", "Outcome", "Receipt", "Sender", "accept", "accept_together"]

_IDS_FILED = 50
NOT_GOOD = frozenset({Outcome.REFUSED, Outcome.CONFLICT})


@dataclass(slots=True)
class Sender:
    """Whose events a request or file brings, and how many refusals of it may still be kept singly.

    Shape: *name* of the token or user; *source* the request's id, or the file's name; *traceparent* what its events
    keep of the trace that they are in (`shared.spans`), empty: of none.
    """

    name: str = ""
    source: str = ""
    room: int = 100
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a request or file brings: each event, or why it cannot be taken, with its position."""

    items: Sequence[Position]
    sender: Sender


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
        [
            Arrival.of(position, item, one.sender.traceparent)
            for position, item in one.items
            if not isinstance(item, InvalidEventError)
        ]
        for one in deliveries
    ]

    tries = count()

    def commit() -> list[list[Receipt]]:
        make = next(tries) > 0  # who met another over a new member makes it first
        with transaction(ledger) as tx:
            judged = iter(_take(tx, list(chain.from_iterable(arrivals)), rules, make=make) if any(arrivals) else [])
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
        number = None if isinstance(receipt, Unnamed) else receipt.member_number
        kept.append(Refusal(receipt.outcome, receipt.position, line, field, reason, number, excerpt))
    refusals.keep(tx, sender.name, sender.source, kept, more=len(bad) - len(kept))


def _take(tx: Transaction, arrivals: Sequence[Arrival], rules: IntakeRules, *, make: bool) -> list[Receipt]:
    members = [arrival.event.member.member_number for arrival in arrivals]
    there = acceptance.lock_members(tx, members, make=make)
    known = acceptance.known_events(tx, [arrival.event_id for arrival in arrivals])
    standings = acceptance.standings(tx, members)
    # Which of the rows that events name are known as other members' is added to where each member stands.
    named = [arrival.event.member for arrival in arrivals if arrival.event.member.row_id]
    claims = {one.row_id for one in named if one.row_id != standings[one.member_number].row_id}
    owners = acceptance.row_owners(tx, list(claims)) if claims else {}
    if owners:
        for number, standing in standings.items():
            standing.foreign_rows = frozenset(row for row, owner in owners.items() if owner != number)
    if rules.changes is not None and (unread := [number for number, one in standings.items() if one.is_unread]):
        for number, shown in acceptance.shown_before(tx, unread).items():
            standings[number].shown = shown
    taken = acceptance.take_ids(tx, len(arrivals))
    desk = Desk(known, standings, rules, taken.now)
    receipts = [desk.take(arrival, instance_id) for arrival, instance_id in zip(arrivals, taken.ids, strict=True)]
    member_queue.supersede(tx, desk.overtaken)
    acceptance.insert(tx, desk.instances, desk.events, desk.newest, there=there, taken=taken)
    member_queue.inherit(tx, desk.failing)
    if desk.forgotten:
        acceptance.drop_unknown(tx, desk.forgotten)
    if rules.forced_by and desk.forced:
        _record_forced(tx, rules.forced_by, desk.forced, receipts)
    if rules.changes is not None and (clearing := desk.clearing()):
        holds = mass_changes.guard(tx, clearing, rules.changes)
        receipts = [_held(receipt, holds) for receipt in receipts]
    return receipts


def _held(receipt: Receipt, holds: Mapping[int, int]) -> Receipt:
    """Return the receipt, with the reason where a guard holds what was accepted."""
    hold_id = holds.get(int(receipt.instance_id or 0)) if receipt.outcome is Outcome.ACCEPTED else None
    return receipt if hold_id is None else replace(receipt, reason=f"held by guard {hold_id}: {mass_changes.WHY}")


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
