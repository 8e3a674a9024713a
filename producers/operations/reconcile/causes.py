"""The cause of each difference, from what the three sides say of one member.  Pure.

Compared is Siebel now with the newest accepted event, and CrowdTwist now with what CrowdTwist showed at our last
success: so what it makes of a value (five digits of a postal code, a city of its own) never looks like drift.  What is
in the table of `shared.reconciling` becomes of that so:

| Siebel                      | CrowdTwist                       | ledger           | class                    |
|-----------------------------|----------------------------------|------------------|--------------------------|
| not a member                | active                           |                  | `orphan`                 |
| member                      | not there, other values, unasked | no event         | `never_sent`             |
| other than the newest event | other than Siebel, unasked       |                  | `missed_event`           |
| as the newest event         | not there                        | acknowledged     | `gone_at_destination`    |
|                             | other, its date before ours      | acknowledged     | `rolled_back`            |
|                             | other                            | acknowledged     | `changed_at_destination` |
| any                         | as Siebel                        | other, no event  | `ledger_behind`          |

Beside these, status or error other than the outcome of the newest event: `status_lies`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from shared.reconciling import DriftClass, Presence, Stratum

_CLOCKS = timedelta(seconds=5)
"""How far CrowdTwist's clock may be off before its date tells that it is older than our acknowledgement."""
_ALSO_SAID = 6


class Order(StrEnum):
    """Where Siebel's row stands beside the newest accepted event, by modification and date."""

    NEWER = "newer"
    SAME = "same"
    OLDER = "older"


@dataclass(frozen=True, slots=True)
class Unlike:
    """A field whose values differ, with what each side has of it; None: nothing, or that side was not compared.

    Shape: *field* None: something differs, and which field is not known any more.
    """

    field: str | None
    siebel: Any = None
    crowdtwist: Any = None
    ledger: Any = None


@dataclass(frozen=True, slots=True)
class InSiebel:
    """What Siebel says.

    Shape: *is_member* its row is there, an Individual of our programme; *unlike* the newest accepted event, in *order*;
    *status* where its two status fields are unlike the outcome of the newest event; *has_row* a row is there, whatever
    it is of.
    """

    is_member: bool
    has_row: bool = False
    unlike: Sequence[Unlike] = ()
    order: Order = Order.SAME
    status: Sequence[Unlike] = ()


@dataclass(frozen=True, slots=True)
class InCrowdTwist:
    """What CrowdTwist says, where it was asked.

    Shape: *unlike* what it showed at our last success; *agrees* with Siebel's row, as we would send that, None: that
    cannot be told; *updated_at* its own date of the last change.
    """

    is_there: bool
    is_active: bool = False
    unlike: Sequence[Unlike] = ()
    agrees: bool | None = None
    updated_at: datetime | None = None
    is_earlier: bool = False


@dataclass(frozen=True, slots=True)
class InLedger:
    """What the ledger knows.

    Shape: *has_event* one was accepted and not passed over; *acknowledged* CrowdTwist took one, last at
    *acknowledged_at*, None: that is not known any more; *was_there* it showed the member then.
    """

    has_event: bool
    acknowledged: bool = False
    acknowledged_at: datetime | None = None
    was_there: bool = False


@dataclass(frozen=True, slots=True)
class Cause:
    """A class of difference, with the three values of the field that tells it.

    Shape: *field* None: the member as a whole, the values words of `Presence`; a value is None where a side has none,
    does not tell, or was not asked.
    """

    drift_class: DriftClass
    evidence: str
    field: str | None = None
    siebel: Any = None
    crowdtwist: Any = None
    ledger: Any = None


def causes(siebel: InSiebel, crowdtwist: InCrowdTwist | None, ledger: InLedger) -> list[Cause]:
    """Return what is different about one member and why; *crowdtwist* None: it was not asked."""
    found = _of_content(siebel, crowdtwist, ledger)
    lies = []
    if siebel.is_member and siebel.status:
        lies = [
            _told(DriftClass.STATUS_LIES, siebel.status, "Siebel shows another outcome than that of the newest event")
        ]
    return [
        cause if cause.field else _of_whole(cause, siebel, crowdtwist, ledger)
        for cause in [found, *lies]
        if cause is not None
    ]


def _of_whole(cause: Cause, siebel: InSiebel, crowdtwist: InCrowdTwist | None, ledger: InLedger) -> Cause:
    """Return the cause with what each side has of the member, since no field tells it."""
    in_siebel = Presence.PRESENT if siebel.is_member else Presence.NO_MEMBER if siebel.has_row else Presence.ABSENT
    there = None
    if crowdtwist is not None:
        is_active = Presence.ACTIVE if crowdtwist.is_active else Presence.INACTIVE
        there = is_active if crowdtwist.is_there else Presence.ABSENT
    taken = Presence.ACKNOWLEDGED if ledger.acknowledged else Presence.ACCEPTED
    known = taken if ledger.has_event else Presence.NO_EVENT
    return replace(cause, siebel=in_siebel, crowdtwist=there, ledger=known)


def _of_content(siebel: InSiebel, crowdtwist: InCrowdTwist | None, ledger: InLedger) -> Cause | None:
    agrees = crowdtwist is not None and bool(crowdtwist.agrees)
    cause = None
    if not siebel.is_member:
        if crowdtwist is not None and crowdtwist.is_there and crowdtwist.is_active:
            cause = Cause(DriftClass.ORPHAN, "active in CrowdTwist, and not a member of the programme in Siebel")
    elif not ledger.has_event:
        cause = _without_event(crowdtwist)
    elif siebel.unlike and agrees:
        cause = _told(DriftClass.LEDGER_BEHIND, siebel.unlike, "CrowdTwist has what Siebel has; no event of it came")
    elif siebel.unlike:
        cause = _told(DriftClass.MISSED_EVENT, siebel.unlike, _MISSED[siebel.order])
    elif crowdtwist is not None and ledger.acknowledged:
        cause = _after_success(crowdtwist, ledger)
    elif agrees:  # else: what never succeeded is a dead letter or Data Error, and told as such
        cause = Cause(DriftClass.LEDGER_BEHIND, "CrowdTwist has what Siebel has; by our record it never took it")
    return cause


def _without_event(crowdtwist: InCrowdTwist | None) -> Cause:
    if crowdtwist is not None and crowdtwist.agrees:
        return Cause(DriftClass.LEDGER_BEHIND, "CrowdTwist has what Siebel has; no event of the member ever came")
    where = {None: "", False: "; not in CrowdTwist", True: "; CrowdTwist has other values"}
    known = where[None if crowdtwist is None else crowdtwist.is_there]
    return Cause(DriftClass.NEVER_SENT, f"in Siebel, and no event of it ever came{known}")


def _after_success(crowdtwist: InCrowdTwist, ledger: InLedger) -> Cause | None:
    taken = "" if ledger.acknowledged_at is None else f" on {_instant(ledger.acknowledged_at)}"
    if not crowdtwist.is_there and ledger.was_there:
        what = f"CrowdTwist took it{taken} and has it no more; it may have been erased lawfully"
        return Cause(DriftClass.GONE_AT_DESTINATION, what)
    if not crowdtwist.unlike:
        return None
    if crowdtwist.agrees:
        what = "CrowdTwist has what Siebel has; our record of what it showed is another"
        return _told(DriftClass.LEDGER_BEHIND, crowdtwist.unlike, what)
    changed = "" if crowdtwist.updated_at is None else f" on {_instant(crowdtwist.updated_at)}"
    if _is_rolled_back(crowdtwist, ledger.acknowledged_at):
        earlier = ", and has what it took before that" if crowdtwist.is_earlier else ""
        what = f"CrowdTwist took a change{taken}; by its own date it was last changed{changed or ' before'}{earlier}"
        return _told(DriftClass.ROLLED_BACK, crowdtwist.unlike, what)
    what = f"changed in CrowdTwist{changed}, after it took our last change{taken}"
    return _told(DriftClass.CHANGED_AT_DESTINATION, crowdtwist.unlike, what)


def _is_rolled_back(crowdtwist: InCrowdTwist, acknowledged_at: datetime | None) -> bool:
    """Return whether CrowdTwist is older than its own acknowledgement; near that, by whether it has what was before."""
    changed = crowdtwist.updated_at
    if changed is None or acknowledged_at is None:
        return crowdtwist.is_earlier
    if abs(changed - acknowledged_at) <= _CLOCKS:
        return crowdtwist.is_earlier
    return changed < acknowledged_at


_MISSED = {
    Order.NEWER: "Siebel's row is newer than the newest accepted event",
    Order.SAME: "Siebel's row has the version of the newest accepted event, and other values",
    Order.OLDER: "Siebel's row is older than the newest accepted event: Siebel may have been restored",
}


def _told(of: DriftClass, unlike: Sequence[Unlike], evidence: str) -> Cause:
    """Return the cause as its first field tells it; the other fields are named."""
    first, others = unlike[0], [one.field for one in unlike[1:] if one.field]
    if others:
        more = f" and {len(others) - _ALSO_SAID} more" if len(others) > _ALSO_SAID else ""
        evidence = f"{evidence}; also {', '.join(others[:_ALSO_SAID])}{more}"
    return Cause(of, evidence, first.field, first.siebel, first.crowdtwist, first.ledger)


def _instant(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%SZ}"


@dataclass(frozen=True, slots=True)
class Standing:
    """What decides how likely a member differs."""

    in_siebel: bool
    in_ledger: bool
    differs_in_siebel: bool = False
    is_given_up: bool = False
    is_unsure: bool = False
    is_requeued: bool = False
    is_recent: bool = False


def stratum_of(of: Standing) -> Stratum:
    """Return the stratum of a member: the first that applies."""
    applies = (
        (not of.in_siebel and not of.in_ledger, Stratum.ONLY_IN_FILE),
        (not of.in_siebel, Stratum.NOT_IN_SIEBEL),
        (not of.in_ledger, Stratum.NEVER_IN_LEDGER),
        (of.differs_in_siebel, Stratum.NEWER_IN_SIEBEL),
        (of.is_given_up, Stratum.GIVEN_UP),
        (of.is_unsure, Stratum.UNSURE),
        (of.is_requeued, Stratum.REQUEUED),
        (of.is_recent, Stratum.RECENT),
    )
    for is_so, stratum in applies:
        if is_so:
            return stratum
    return Stratum.LONG_UNTOUCHED
