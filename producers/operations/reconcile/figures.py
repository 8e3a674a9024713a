"""The figures of a run: how many differ by class and in all, estimated over the strata from what was looked at.

Whether a status lies, an event was missed or never came is found from Siebel and ledger, of everybody; the other
classes of those that CrowdTwist was asked about.  So a member has a difference that is certain, or stands for those of
its stratum that were not drawn.  Who could not be looked at belongs to all members too, and nobody stands for them:
each may differ or not, so that all of their weight goes into the interval.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from producers.operations.reconcile.estimates import Looked, estimate, said
from producers.operations.reconcile.looks import SUSPECT_STRATA
from shared.ledger import sightings
from shared.ledger.engine import Transaction
from shared.ledger.sightings import StratumCount
from shared.reconciling import DriftClass, Stratum

_RESTORED_LEAST = 5
_CERTAIN = frozenset({DriftClass.STATUS_LIES, DriftClass.NEVER_SENT, DriftClass.MISSED_EVENT})
_ONLY_IN: Mapping[DriftClass, frozenset[Stratum]] = {
    DriftClass.NEVER_SENT: frozenset({Stratum.NEVER_IN_LEDGER}),
    DriftClass.MISSED_EVENT: frozenset({Stratum.NEWER_IN_SIEBEL}),
    DriftClass.ORPHAN: frozenset({Stratum.NOT_IN_SIEBEL, Stratum.ONLY_IN_FILE}),
}
_NEVER_IN = frozenset({Stratum.NOT_IN_SIEBEL, Stratum.ONLY_IN_FILE})
"""Where no class but `orphan` can be."""


@dataclass(frozen=True, slots=True)
class Differing:
    """So many members of a stratum have these classes of difference; *looked*: CrowdTwist was asked about them."""

    stratum: str
    classes: tuple[str, ...]
    looked: bool
    total: int


def figures(tx: Transaction, run_id: int, *, per_minute: float) -> dict[str, Any]:
    """Return what the row of a run says of its members; *per_minute* calls that its share allows."""
    counts = sightings.sizes(tx, run_id)
    found = [Differing(*one) for one in sightings.found_by_stratum(tx, run_id)]
    return computed(counts, found, per_minute=per_minute) | {"findings": _findings(tx, run_id)}


def computed(counts: Sequence[StratumCount], found: Sequence[Differing], *, per_minute: float) -> dict[str, Any]:
    """Compute the same from its counts.  Pure."""
    members, looked = sum(one.size for one in counts), sum(one.looked for one in counts)
    unread = sum(one.unread for one in counts)
    every = estimate(_of_all(counts, found))
    differ = sum(one.total for one in found)
    left_s = (members - looked) / per_minute * 60 if looked < members else None
    meaning = said(every, members=members + unread, compared=looked, differ=differ, all_take_s=left_s, unread=unread)
    return {
        "compared": looked,
        "moving": sum(one.moving for one in counts),
        "unread": unread,
        "covered": looked / (members + unread) if members else 0.0,
        "drift": ({} if every is None else asdict(every)) | {"meaning": meaning},
        "classes": {
            one.value: asdict(part)
            for one in DriftClass
            if (part := estimate(_of_class(one, counts, found))) is not None
        },
        "strata": [asdict(one) | {"differ": _total(found, one.stratum)} for one in counts],
    }


def _of_all(counts: Iterable[StratumCount], found: Sequence[Differing]) -> list[Looked]:
    """Return the strata, each in two parts: those known to differ, and those that the drawn ones stand for."""
    parts = []
    for one in counts:
        here = [differing for differing in found if differing.stratum == one.stratum]
        certain = [differing for differing in here if _is_certain(differing)]
        known = sum(differing.total for differing in certain)
        drawn = one.looked - sum(differing.total for differing in certain if differing.looked)
        others = sum(differing.total for differing in here if differing.looked and not _is_certain(differing))
        parts += [Looked(known, known, known), Looked(one.size - known, drawn, others), Looked(one.unread, 0, 0)]
    return parts


def _is_certain(of: Differing) -> bool:
    return of.stratum in SUSPECT_STRATA or not _CERTAIN.isdisjoint(of.classes)


def _of_class(of: DriftClass, counts: Iterable[StratumCount], found: Sequence[Differing]) -> list[Looked]:
    return [
        part
        for one in counts
        for part in _parts(of, one, [differing for differing in found if differing.stratum == one.stratum])
    ]


def _parts(of: DriftClass, one: StratumCount, found: Iterable[Differing]) -> tuple[Looked, Looked]:
    with_it = [differing for differing in found if of in differing.classes]
    total = sum(differing.total for differing in with_it)
    is_possible = one.stratum in _ONLY_IN[of] if of in _ONLY_IN else one.stratum not in _NEVER_IN
    is_known_whole = of in _CERTAIN and (of is DriftClass.STATUS_LIES or not one.looked)
    unread = Looked(one.unread, 0 if is_possible else one.unread, 0)
    if not is_possible or is_known_whole:
        return Looked(one.size, one.size, total), unread
    return Looked(one.size, one.looked, sum(differing.total for differing in with_it if differing.looked)), unread


def _total(found: Iterable[Differing], stratum: str) -> int:
    return sum(one.total for one in found if one.stratum == stratum)


def _findings(tx: Transaction, run_id: int) -> list[dict[str, Any]]:
    """Return what many differences have in common: a restore of CrowdTwist is one cause, not as many as members."""
    members, first_at, last_at = sightings.restored(tx, run_id)
    if members < _RESTORED_LEAST or first_at is None or last_at is None:
        return []
    since = f"{first_at:%Y-%m-%dT%H:%M:%SZ}"
    what = f"CrowdTwist was restored: {members} members are older there than its acknowledgements since {since}"
    todo = f"membersync resend --acknowledged-since {since}"
    return [{"kind": "restore", "members": members, "since": since, "until": f"{last_at:%Y-%m-%dT%H:%M:%SZ}",
             "evidence": what, "todo": todo}]  # fmt: skip
