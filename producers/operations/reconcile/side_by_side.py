"""One member on all sides, field by field, from what each side said.  Pure.

What differs is classed as a reconciliation would; nothing is concluded from a side that did not answer.  What differs
while something of the member is on its way, or came while we asked, is moving and no drift.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from producers.intake.siebel_rows import RecordReader, SiebelRecord
from producers.operations.reconcile.causes import Cause, causes
from producers.operations.reconcile.fields import NAMES, Compared, compared, instant_of, unsent
from producers.operations.reconcile.sides import Sides, shown_then
from shared.events import Operation, parse_event
from shared.ledger.records import MemberRecord
from shared.ledger.sightings import Details, Known
from shared.masking import mask, mask_text
from shared.personal import marked, unmarked, values_of
from shared.pipeline import QUEUED, Stage, State, SyncStatus
from shared.settings import Settings
from shared.systems.crowdtwist import User
from shared.systems.siebel_answers import Row

_ANY_SIZE = 2**31  # it was taken in once
_ON_ITS_WAY = frozenset({*QUEUED, State.RUNNING})


class Verdict(StrEnum):
    """What the comparison comes to."""

    SAME = "same"
    DIFFERENT = "different"
    MOVING = "moving"
    UNKNOWN = "unknown"
    """Nothing that could be compared differs, and not everything could."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a side could not be read, or its answer not be compared: the *code* of the error, and a sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class SiebelNow:
    """What Siebel says.

    Shape: *found* None: it could not be read, and *trouble* says why; *trouble* of a row that is there: it makes no
    event; *is_member* whether the row is an Individual of the programme; *status* and *error* its two sync fields.
    """

    found: bool | None
    trouble: Trouble | None = None
    row_id: str | None = None
    is_member: bool | None = None
    status: str | None = None
    error: str | None = None
    modification: int | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CrowdTwistNow:
    """What CrowdTwist says; *found* and *trouble* as of Siebel."""

    found: bool | None
    trouble: Trouble | None = None
    user_id: int | None = None
    is_active: bool | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class OnItsWay:
    """An instance that is not finished."""

    instance_id: str
    state: str
    stage: str


@dataclass(frozen=True, slots=True)
class LedgerNow:
    """What we know.

    Shape: *found* some event of the member was accepted; *status* of the newest instance; *told_…* what Siebel was told
    last; *acknowledged_at* when CrowdTwist last took a change, null: never, or not known any more.
    """

    found: bool
    row_id: str | None = None
    newest_instance_id: str | None = None
    state: str | None = None
    status: str | None = None
    modification: int | None = None
    occurred_at: datetime | None = None
    told_status: str | None = None
    told_error: str | None = None
    applied_instance_id: str | None = None
    acknowledged_at: datetime | None = None
    ct_user_id: int | None = None
    on_its_way: tuple[OnItsWay, ...] = ()


@dataclass(frozen=True, slots=True)
class FieldNow:
    """One field on all sides; null: nothing, or that side does not tell.

    Shape: *ledger* of the newest accepted event; *acknowledged* what CrowdTwist showed at our last success; *differs*
    which sides are unlike what the ledger has of them: `siebel`, `crowdtwist`; *unsent* CrowdTwist is sent no value of
    it by a rule of the map (a country, where the postal code says it).  Values of CrowdTwist in the terms of an event.
    """

    field: str
    siebel: Any
    crowdtwist: Any
    ledger: Any
    acknowledged: Any
    differs: tuple[str, ...]
    unsent: bool = False


@dataclass(frozen=True, slots=True)
class DifferenceNow:
    """What a difference is, as a reconciliation would class it, and the sentence that says so."""

    drift_class: Annotated[str, Field(alias="class")]
    field: str | None
    evidence: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """One member on all sides *at* an instant; *verdict* in a word, and what it *means* in a sentence."""

    member_number: str
    at: datetime
    verdict: Verdict
    means: str
    siebel: SiebelNow
    crowdtwist: CrowdTwistNow
    ledger: LedgerNow
    fields: tuple[FieldNow, ...]
    differences: tuple[DifferenceNow, ...]

    @property
    def is_known(self) -> bool:
        """Whether any side has the member, or may have."""
        return self.ledger.found or self.siebel.found is not False or self.crowdtwist.found is not False

    def shown(self) -> dict[str, Any]:
        """Return it as JSON shows it."""
        names = [name for name in self.__dataclass_fields__ if name != "differences"]
        told = [{"class": one.drift_class, "field": one.field, "evidence": one.evidence} for one in self.differences]
        return {name: getattr(self, name) for name in names} | {"differences": told}


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the ledger has."""

    member: MemberRecord | None
    known: Known | None
    details: Details
    paused: frozenset[Stage]


@dataclass(frozen=True, slots=True)
class Heard:
    """What all sides said of a member: the ledger *before* the others were asked, these, and the ledger *after*."""

    member_number: str
    before: Remembered
    row: Row | Trouble | None
    user: User | Trouble | None
    after: Remembered


def put_together(heard: Heard, of: Settings, now: datetime) -> Comparison:
    """Put the sides together, with the people in them."""
    known, details = heard.after.known, heard.after.details
    record_ = RecordReader(of, now).of_row(heard.row) if isinstance(heard.row, Row) else None
    user = None if isinstance(heard.user, Trouble) else heard.user
    sides = Sides(of, now)
    siebel = sides.in_siebel(record_, known, details)
    crowdtwist = sides.in_crowdtwist(user, known, record_, details)
    accepted = None if details.event is None else parse_event(details.event, max_bytes=_ANY_SIZE)
    silent = unsent(accepted, of.oic)
    rows = [_field(one, silent) for one in compared(record_, accepted, user, shown_then(known), of.oic)]
    rows += _status_rows(record_, known, [one.field or "" for one in siebel.status], of)
    is_readable = heard.row is None or (record_ is not None and (record_.event is not None or record_.is_deleted))
    found: list[Cause] = []
    if is_readable:
        asked = None if isinstance(heard.user, Trouble) else crowdtwist
        found = causes(siebel, asked, sides.in_ledger(known, details))
    here = _siebel(heard.row, record_, is_member=sides.is_member(record_))
    there = _crowdtwist(heard.user)
    said = [one.evidence for one in found] or _unlike(rows)
    if here.found is False and known is not None and known.newest_operation not in {None, Operation.DELETE}:
        said.append("Siebel has no such member")
    if _is_moving(heard.before, heard.after):
        late = "what differs may only be late" if said else "nothing differs so far"
        verdict, means = Verdict.MOVING, f"something of this member is on its way: {late}"
    elif said:
        verdict, means = Verdict.DIFFERENT, "; ".join(said)
    else:
        verdict, means = _of_no_difference(here, there, known)
    return Comparison(
        member_number=heard.member_number,
        at=now,
        verdict=verdict,
        means=f"{means[:1].upper()}{means[1:]}.",
        siebel=here,
        crowdtwist=there,
        ledger=_ledger(heard.after),
        fields=tuple(rows),
        differences=tuple(DifferenceNow(one.drift_class, one.field, one.evidence) for one in found),
    )


def _is_moving(before: Remembered, after: Remembered) -> bool:
    if after.known is None or before.known is None:
        return after.known is not None
    return before.known.in_flight or after.known.in_flight or before.known.marker != after.known.marker


def _unlike(rows: list[FieldNow]) -> list[str]:
    differing = [row.field for row in rows if row.differs]
    return [f"unlike what we know: {', '.join(differing)}"] if differing else []


def _of_no_difference(siebel: SiebelNow, crowdtwist: CrowdTwistNow, known: Known | None) -> tuple[Verdict, str]:
    sides = {"Siebel": siebel.trouble, "CrowdTwist": crowdtwist.trouble}
    unread = [f"{name} could not be compared ({trouble.message})" for name, trouble in sides.items() if trouble]
    if unread:
        rest = [f"{name} and the ledger agree" for name, trouble in sides.items() if not trouble]
        return Verdict.UNKNOWN, "; ".join([*unread, *rest])
    if known is not None and known.newest_status not in {None, SyncStatus.SUCCESS}:
        return Verdict.SAME, f"each side is as we know it; the newest event came to {known.newest_status}"
    return Verdict.SAME, "Siebel, CrowdTwist and the ledger agree"


def _field(one: Compared, silent: frozenset[str]) -> FieldNow:
    differs = tuple(name for name, is_so in (("siebel", one.in_siebel), ("crowdtwist", one.in_crowdtwist)) if is_so)
    is_silent = one.field in silent
    return FieldNow(one.field, one.siebel, one.crowdtwist, one.ledger, one.acknowledged, differs, is_silent)


def _status_rows(
    record_: SiebelRecord | None, known: Known | None, differing: list[str], of: Settings
) -> list[FieldNow]:
    """Return what Siebel shows of the sync beside what it was told."""
    told = (None, None) if known is None else (known.told_status, known.told_error)
    shows = (None, None) if record_ is None else (record_.sync_status, _words(record_))
    return [
        FieldNow(label, shown, None, said, None, ("siebel",) if label in differing else ())
        for label, shown, said in zip((of.siebel.status_field, of.siebel.error_field), shows, told, strict=True)
    ]


def _siebel(row: Row | Trouble | None, record_: SiebelRecord | None, *, is_member: bool) -> SiebelNow:
    if isinstance(row, Trouble):
        return SiebelNow(None, row)
    if row is None or record_ is None:
        return SiebelNow(found=False)
    trouble = None if record_.flaw is None else Trouble(record_.flaw.code, f"its row is flawed: {record_.flaw}")
    event = record_.event
    return SiebelNow(
        found=True,
        trouble=trouble,
        row_id=row.row_id,
        is_member=None if event is None else is_member,
        status=record_.sync_status,
        error=_words(record_),
        modification=None if event is None else event.modification,
        updated_at=None if event is None or event.occurred_on_arrival else event.occurred_at,
    )


def _words(record_: SiebelRecord) -> str | None:
    """Return what Siebel shows as the error, what names the member in it marked."""
    if record_.sync_error is None or record_.event is None:
        return record_.sync_error
    return marked(record_.sync_error, values_of(record_.event.member.__dict__))


def _crowdtwist(user: User | Trouble | None) -> CrowdTwistNow:
    if isinstance(user, Trouble):
        return CrowdTwistNow(None, user)
    if user is None:
        return CrowdTwistNow(found=False)
    is_active = user.get("is_active")
    return CrowdTwistNow(
        found=True,
        user_id=user["id"],
        is_active=is_active if isinstance(is_active, bool) else None if is_active is None else is_active in (1, "1"),
        updated_at=instant_of(user.get("date_last_updated")),
    )


def _ledger(of: Remembered) -> LedgerNow:
    member, known = of.member, of.known
    if member is None or known is None:
        return LedgerNow(found=False)
    out = tuple(OnItsWay(one.instance_id, one.state, one.stage) for one in member.instances if one.state in _ON_ITS_WAY)
    return LedgerNow(
        found=True,
        row_id=member.row_id,
        newest_instance_id=member.newest_instance_id,
        state=known.newest_state,
        status=known.newest_status,
        modification=member.newest_modification,
        occurred_at=member.newest_occurred_at,
        told_status=member.told_status,
        told_error=member.told_error,
        applied_instance_id=member.applied_instance_id,
        acknowledged_at=of.details.acknowledged_at,
        ct_user_id=member.ct_user_id,
        on_its_way=out,
    )


def masked(found: Comparison) -> Comparison:
    """Return it without people."""
    return _changed(found, lambda name, value: value if value is None else mask({name: value})[name], mask_text)


def unmasked(found: Comparison) -> Comparison:
    """Return it with people as they are."""
    return _changed(found, lambda _, value: unmarked(value) if isinstance(value, str) else value, unmarked)


def _changed(found: Comparison, value_of: Callable[[str, Any], Any], words_of: Callable[[str], str]) -> Comparison:
    def words(text: str | None) -> str | None:
        return None if text is None else words_of(text)

    def shown(one: FieldNow) -> FieldNow:
        names = ("siebel", "crowdtwist", "ledger", "acknowledged")
        if one.field in NAMES:
            return replace(one, **{name: value_of(one.field, getattr(one, name)) for name in names})
        return replace(one, siebel=words(one.siebel), ledger=words(one.ledger))

    return replace(
        found,
        fields=tuple(map(shown, found.fields)),
        siebel=replace(found.siebel, status=words(found.siebel.status), error=words(found.siebel.error)),
        ledger=replace(found.ledger, told_error=words(found.ledger.told_error)),
    )
