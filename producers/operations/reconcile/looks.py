"""The two looks at a member: what the first makes of it, and what stands after the second.

The first look, at Siebel's row or at CrowdTwist's user, makes a sighting; where something differs the member is
suspected, with a hash of what was seen.  The second look, a settle time later, makes a difference of it if the same is
there once more, and the ledger took nothing, sent nothing and told nothing between.  All is decided here, nothing read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from producers.intake.siebel_rows import SiebelRecord
from producers.operations.reconcile.causes import Cause, InCrowdTwist, InSiebel, causes, stratum_of
from producers.operations.reconcile.sides import NOTHING, Sides, row_hash, user_hash
from shared.ledger.sightings import Details, Found, Known, Sighting
from shared.reconciling import DriftClass, Outcome, Stratum
from shared.systems.crowdtwist import SYNCED, User, same, shown_as

SUSPECT_STRATA = frozenset({Stratum.NEVER_IN_LEDGER, Stratum.NEWER_IN_SIEBEL})
"""Who differs by Siebel and ledger alone: CrowdTwist is asked about them to tell `ledger_behind` from it."""
_NOT_IN_SIEBEL = frozenset({Stratum.NOT_IN_SIEBEL, Stratum.ONLY_IN_FILE})
_BY_SIEBEL = frozenset({DriftClass.NEVER_SENT, DriftClass.MISSED_EVENT, DriftClass.STATUS_LIES})
_BY_EITHER = frozenset({DriftClass.LEDGER_BEHIND})


@dataclass(frozen=True, slots=True)
class Row:
    """A row of Siebel: *page* where it is found again."""

    record: SiebelRecord
    page: str = ""


@dataclass(frozen=True, slots=True)
class Now:
    """What the second look found: Siebel's row, and CrowdTwist's user where that was *asked*."""

    record: SiebelRecord | None
    user: User | None = None
    asked: bool = False


def is_unlike(siebel: InSiebel, known: Known | None) -> bool:
    """Return whether Siebel and ledger alone show that something differs."""
    return siebel.is_member and (known is None or known.newest_id is None or bool(siebel.unlike or siebel.status))


def first_at_row(sides: Sides, row: Row, siebel: InSiebel, known: Known | None) -> Sighting | None:
    """Return what the first look at a row of Siebel comes to; None: it is not of a member that is synced.

    Shape: *siebel* what it says beside what is *known*; in which field it is unlike counts for nothing yet.  A row that
    cannot be read counts by its place where it has no Member Number.
    """
    record, page = row.record, row.page
    number = record.member_number
    if record.event is None and not record.is_deleted:
        place = f"row {record.row_id}" if record.row_id else f"line {record.line}"
        return Sighting(number or place, Stratum.LONG_UNTOUCHED, page, record.row_id, outcome=Outcome.UNREAD)
    if number is None:
        return None
    if not siebel.is_member:
        return None
    stratum = stratum_of(sides.standing(known, siebel))
    marker = known.marker if known else ""
    seen = Sighting(number, stratum, page, record.row_id or None, marker)
    if known is not None and known.in_flight:
        return replace(seen, outcome=Outcome.MOVING)
    if not is_unlike(siebel, known):
        return seen
    return replace(seen, suspected_at=sides.now, siebel=row_hash(record))


def not_in_siebel(known: Known) -> Sighting:
    """Return the sighting of a member that CrowdTwist has by our record, and Siebel did not show."""
    outcome = Outcome.MOVING if known.in_flight else None
    return Sighting(known.member_number, Stratum.NOT_IN_SIEBEL, marker=known.marker, outcome=outcome)


def only_in_file(number: str, known: Known | None) -> Sighting:
    """Return the sighting of a member that CrowdTwist's file has, and Siebel did not show."""
    return Sighting(
        number, Stratum.NOT_IN_SIEBEL if known else Stratum.ONLY_IN_FILE, marker=known.marker if known else ""
    )


def drawn(seen: Sighting) -> Sighting:
    """Return the sighting as one that CrowdTwist is to be asked about."""
    return replace(seen, drawn=seen.outcome is None)


def unread(number: str) -> Sighting:
    """Return the sighting of a member whose row could not be read."""
    return Sighting(number, Stratum.LONG_UNTOUCHED, outcome=Outcome.UNREAD)


def unread_of(seen: Sighting) -> Sighting:
    """Return the sighting of one that CrowdTwist could not be asked about."""
    return replace(seen, outcome=Outcome.UNREAD, suspected_at=None)


def first_at_user(
    sides: Sides, seen: Sighting, user: User | None, known: Known | None, kept: Mapping[str, Any] | None = None
) -> Sighting:
    """Return what the first look at CrowdTwist's user comes to; *kept*: the user, where it came in a file."""
    now = replace(seen, looked_at=sides.now)
    if known is not None and known.in_flight:
        return replace(now, outcome=Outcome.MOVING, suspected_at=None)
    if seen.suspected_at is None:
        now = replace(now, marker=known.marker if known else "")
    there = sides.in_crowdtwist(user, known, None)
    if not _is_suspicious(seen, there, known):
        return now
    from_file = seen.from_file if kept is None else {**(seen.from_file or {}), "crowdtwist": kept}
    return replace(now, suspected_at=sides.now, crowdtwist=user_hash(user), from_file=from_file)


def _is_suspicious(seen: Sighting, there: InCrowdTwist, known: Known | None) -> bool:
    if seen.stratum in _NOT_IN_SIEBEL:
        return there.is_there and there.is_active
    if seen.stratum in SUSPECT_STRATA:
        return True  # whether it agrees with Siebel is for the second look to say
    if known is None:
        return False
    if known.applied_id is None:
        return there.is_there
    return bool(there.unlike) if there.is_there else known.is_in_crowdtwist and known.echoed != {}


def second(
    sides: Sides, seen: Sighting, now: Now, known: Known | None, details: Details = NOTHING
) -> tuple[Outcome, list[Found]]:
    """Return what stands after the second look."""
    record, user = now.record, now.user
    siebel = sides.in_siebel(record, known, details)
    there = sides.in_crowdtwist(user, known, record, details) if now.asked else None
    found = causes(siebel, there, sides.in_ledger(known, details))
    if not found:
        return Outcome.SAME, []
    is_touched = (known.marker if known else "") != seen.marker or (known is not None and known.in_flight)
    is_other_row = seen.siebel is not None and seen.siebel != row_hash(record)
    is_other_user = now.asked and not _is_same_user(seen, user)
    twice = [one for one in found if _was_suspected(seen, one)]
    if is_touched or is_other_row or is_other_user or not twice:
        return Outcome.MOVING, []
    at = details.acknowledged_at
    first = seen.suspected_at or sides.now
    return Outcome.DIFFERS, [
        Found(
            seen.member_number, one.drift_class, one.field, one.siebel, _there(one, user), one.ledger, first,
            one.evidence, at,
        )
        for one in twice
    ]  # fmt: skip


def _there(cause: Cause, user: User | None) -> Any:  # noqa: ANN401  # JSON
    """Return what CrowdTwist has of the field that tells a difference, though it is between Siebel and ledger."""
    if cause.crowdtwist is not None or cause.field is None or user is None:
        return cause.crowdtwist
    shown = shown_as(cause.field)
    return None if shown is None else user.get(shown)


def _is_same_user(seen: Sighting, user: User | None) -> bool:
    """Return whether CrowdTwist has what it had at the first look, as far as that told: a file may tell less."""
    kept = (seen.from_file or {}).get("crowdtwist")
    if kept is None:
        return seen.crowdtwist is None or seen.crowdtwist == user_hash(user)
    told = SYNCED.intersection(kept)
    return user is not None and all(same(name, kept[name], user.get(name)) for name in told)


def _was_suspected(seen: Sighting, cause: Cause) -> bool:
    """Return whether the side that shows *cause* was as it should not be at the first look too."""
    if cause.drift_class in _BY_EITHER:
        return seen.siebel is not None or seen.crowdtwist is not None
    return (seen.siebel if cause.drift_class in _BY_SIEBEL else seen.crowdtwist) is not None


def pages(suspected: Sequence[Sighting]) -> dict[str, list[Sighting]]:
    """Group those that are found on the same page of Siebel; an empty page: each by its Member Number."""
    grouped: dict[str, list[Sighting]] = {}
    for one in suspected:
        grouped.setdefault(one.page, []).append(one)
    return grouped
