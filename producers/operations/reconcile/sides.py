"""What each side says of one member, in the words of `causes`; and what of that makes up its hash between two looks.

Siebel's row is compared with the newest accepted event by the hash of its content, and where that differs field by
field (`fields`), as CrowdTwist's user is with what CrowdTwist showed at our last success.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import orjson

from producers.intake.siebel_rows import SiebelRecord
from producers.operations.reconcile.causes import InCrowdTwist, InLedger, InSiebel, Order, Standing, Unlike
from producers.operations.reconcile.fields import agrees, compared, instant_of
from shared.events import MemberEvent, Operation, Version, content_hash, parse_event
from shared.ledger.sightings import RECENT_H, Details, Known
from shared.personal import marked, unmarked, values_of
from shared.pipeline import State
from shared.settings import OicSettings, Settings
from shared.systems.crowdtwist import User, echoed, is_as_sent, same

_INDIVIDUAL = "individual"
_CLOCKS = timedelta(seconds=5)
_TRUE = (True, 1, "1", "true")
_ENDED = {State.COMPLETED, State.REJECTED, State.DEAD}
_ANY_SIZE = 2**31  # it was taken in once
NOTHING = Details(None, None, ())


@dataclass(frozen=True, slots=True)
class Sides:
    """Compares under the settings; *now* of the look."""

    settings: Settings
    now: datetime

    def is_member(self, record: SiebelRecord | None) -> bool:
        """Return whether a row is that of an Individual of the programme that is synced."""
        if record is None or record.event is None or record.is_deleted:
            return False
        member, program = record.event.member, self.settings.program_id
        is_ours = not program or member.program_id == program
        return is_ours and is_individual(record.event.member.member_type)

    def in_siebel(self, record: SiebelRecord | None, known: Known | None, details: Details | None = None) -> InSiebel:
        """Say what Siebel's row says beside what is known; *details* None: not read, and of a difference no field is.

        Nothing is unlike what is not known.
        """
        if record is None or record.event is None or not self.is_member(record):
            return InSiebel(is_member=False, has_row=record is not None)
        if known is None or known.newest_id is None:
            return InSiebel(is_member=True)
        event = record.event
        order = _order(
            event.version, Version(known.newest_modification, _newest_at(known), known.newest_occurred_until)
        )
        unlike: list[Unlike] = []
        if known.newest_operation == Operation.DELETE:
            unlike = self._after_deletion(event, known)
        elif known.newest_hash is not None and content_hash(event) != known.newest_hash:
            unlike = _unlike_event(record, details, self.settings.oic)
        return InSiebel(is_member=True, unlike=unlike, order=order, status=self._status(record, known))

    def in_crowdtwist(
        self, user: User | None, known: Known | None, record: SiebelRecord | None, details: Details = NOTHING
    ) -> InCrowdTwist:
        """Say what CrowdTwist's *user* says beside what it showed at our last success, and beside Siebel's row."""
        if user is None:
            return InCrowdTwist(is_there=False)
        ours = record if self.is_member(record) else None
        return InCrowdTwist(
            is_there=True,
            is_active=user.get("is_active") in _TRUE,
            unlike=_unlike_shown(ours, user, shown_then(known), self.settings.oic),
            agrees=agrees(ours, user, self.settings.oic),
            updated_at=instant_of(user.get("date_last_updated")),
            is_earlier=any(is_as_sent(_sent(one), user) for one in details.earlier),
        )

    def in_ledger(self, known: Known | None, details: Details) -> InLedger:
        """Say what is known."""
        if known is None or known.newest_id is None:
            return InLedger(has_event=False)
        return InLedger(
            has_event=True,
            acknowledged=known.applied_id is not None,
            acknowledged_at=details.acknowledged_at,
            was_there=known.is_in_crowdtwist and known.echoed != {},
        )

    def standing(self, known: Known | None, siebel: InSiebel) -> Standing:
        """Say what decides how likely the member differs."""
        if known is None or known.newest_id is None:
            return Standing(in_siebel=siebel.is_member, in_ledger=known is not None and known.is_in_crowdtwist)
        accepted = known.newest_accepted_at
        return Standing(
            in_siebel=siebel.is_member,
            in_ledger=True,
            differs_in_siebel=bool(siebel.unlike),
            is_given_up=known.newest_state in {State.DEAD, State.REJECTED},
            is_unsure=known.is_unsure,
            is_requeued=known.is_requeued,
            is_recent=accepted is not None and self.now - accepted < timedelta(hours=RECENT_H),
        )

    def _after_deletion(self, event: MemberEvent, known: Known) -> list[Unlike]:
        """A row stays after a deletion, and is touched by our status: only what came after that says otherwise."""
        last = max(filter(None, (known.newest_occurred_at, known.told_at)))
        if not event.is_active or event.occurred_at <= last + _CLOCKS:
            return []
        return [Unlike("status", siebel=event.member.status, ledger="deleted")]

    def _status(self, record: SiebelRecord, known: Known) -> list[Unlike]:
        """Return where Siebel's two fields are unlike the outcome of the newest event."""
        if known.is_telling_unsure or record.sync_status is None:
            return []
        of = self.settings.siebel
        newest = known.newest_status if known.newest_state in _ENDED else None
        wanted = known.told_status
        if newest is not None and known.told_id is not None and known.newest_id is not None:
            is_told = known.told_id >= known.newest_id
            wanted = wanted if is_told else of.success_status if newest == "Success" else newest
        elif newest is not None:
            wanted = of.success_status if newest == "Success" else newest
        if wanted is None:
            return []
        unlike = []
        if record.sync_status != wanted:
            unlike.append(Unlike(of.status_field, siebel=record.sync_status, ledger=wanted))
        told = known.told_error if wanted == known.told_status else None
        if record.sync_error is not None and told is not None and record.sync_error != " ".join(unmarked(told).split()):
            shown = marked(record.sync_error, values_of(record.event.member.__dict__ if record.event else None))
            unlike.append(Unlike(of.error_field, siebel=shown, ledger=told))
        return unlike


def is_individual(member_type: str) -> bool:
    """Return whether a member of this type is synced; one that states none is."""
    return member_type.casefold() in {"", _INDIVIDUAL}


def row_hash(record: SiebelRecord | None) -> bytes:
    """Return a hash of all that counts of a row: one that is the same later has not changed."""
    if record is None or record.event is None:
        return _hash(None)
    return _hash([content_hash(record.event).hex(), record.event.is_active, record.sync_status, record.sync_error])


def user_hash(user: User | None) -> bytes:
    """Return a hash of all that counts of a user."""
    return _hash(None if user is None else echoed(user))


def _hash(value: object) -> bytes:
    return blake2b(orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=str), digest_size=16).digest()


def _newest_at(known: Known) -> datetime:
    return known.newest_occurred_at or datetime.min.replace(tzinfo=UTC)


def _order(siebel: Version, newest: Version) -> Order:
    if newest.is_older_than(siebel):
        return Order.NEWER
    return Order.OLDER if siebel.is_older_than(newest) else Order.SAME


def _unlike_event(record: SiebelRecord, details: Details | None, oic: OicSettings) -> list[Unlike]:
    """Return the fields in which a row differs from the newest event; one without a name where that is pruned."""
    if details is None or details.event is None:
        return [Unlike(None)]
    accepted = parse_event(details.event, max_bytes=_ANY_SIZE)
    found = compared(record, accepted, None, None, oic)
    return [Unlike(one.field, siebel=one.siebel, ledger=one.ledger) for one in found if one.in_siebel]


def _unlike_shown(record: SiebelRecord | None, user: User, then: Mapping[str, Any], oic: OicSettings) -> list[Unlike]:
    if all(user[name] == value or same(name, value, user[name]) for name, value in then.items() if name in user):
        return []
    found = compared(record, None, user, then, oic)
    return [Unlike(one.field, one.siebel, one.crowdtwist, one.acknowledged) for one in found if one.in_crowdtwist]


def shown_then(known: Known | None) -> Mapping[str, Any]:
    """Return what CrowdTwist showed at our last success; one that was inactive already answered no more than that."""
    shown = dict(known.echoed or {}) if known is not None else {}
    if shown and known is not None and known.applied_operation == Operation.DELETE:
        shown["is_active"] = False
    return shown


def _sent(user: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in user.items() if name != "third_party_id"}
