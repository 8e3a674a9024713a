"""Data Errors as cases, as people read them and what they do about them: list, export, acknowledge, ask who has it.

People are masked, unless somebody who may see them wants to; that is recorded.  Who has an address is told to those who
operate: a viewer sees that there is somebody.  Whoever reads has the cases brought up to date first, without any call.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from producers.dispatch import desk
from producers.operations.case_records import Beside, CaseAnswer, CaseCycle, CaseHolder, CasePage, CaseRecord, advice
from producers.operations.job_control import AskError, Operator
from producers.operations.reads import id_of
from producers.operations.spreadsheet import csv_lines
from shared.errors import LedgerConflictError, LedgerUnwritableError
from shared.fields import FIELDS
from shared.ledger import case_facts, cases
from shared.ledger.audit import Action, record
from shared.ledger.case_facts import CaseFacts, CaseFilter, CycleShown, HolderFacts
from shared.ledger.engine import Ledger, Transaction, transaction
from shared.ledger.filters import has_control
from shared.lifecycle.cases import CaseKind, LookUp
from shared.masking import MASK, mask, mask_text
from shared.personal import unmarked
from shared.published_rules import character_said
from shared.settings import Settings

REASON_MAX = 500
EXPORT_MAX = 200_000
"""Cases of one export."""
_PIECE = 500
_FRESH = 1_000
_LABELS = {field.name: field.labels[0] for field in FIELDS}
_SENT_AS = {field.name: field.sent_as for field in FIELDS}
_SHOWN_AS = {"country_code": "country", "city_name": "city"}
_BESIDE = tuple(
    (field.name, field.name if field.name in field.sent_as else field.sent_as[0])
    for field in FIELDS
    if field.sent_as and field.name not in ("operation", "ct_city_id")
)
"""What of two members is shown beside each other: the event's field, and CrowdTwist's."""


@dataclass(frozen=True, slots=True)
class Sees:
    """What the reader may see: *holder* who has an address; *unmasked_for*: people as they are, None: masked."""

    holder: bool = False
    unmasked_for: Operator | None = None


def filter_of(kinds: tuple[str, ...], members: tuple[str, ...], state: str) -> CaseFilter:
    """Return the filter that is said in words.

    Raises:
        ValueError: with the name of the field and one sentence.
    """
    if unknown := set(kinds) - set(CaseKind):
        raise ValueError(f"kind: {min(unknown)} is none of {', '.join(CaseKind)}")
    if state not in _STATES:
        raise ValueError(f"state: must be one of {', '.join(_STATES)}")
    if any(map(has_control, members)):
        raise ValueError("member: contains a control character")
    return CaseFilter(tuple(map(CaseKind, kinds)), members, _STATES[state])


_STATES = {"open": True, "closed": False, "all": None}
STATES = tuple(_STATES)
"""Which cases may be asked for."""


def listed(ledger: Ledger, where: CaseFilter, sees: Sees, *, limit: int, before: int | None = None) -> CasePage:
    """List the cases that match, what unblocks most first."""
    if before is None:
        _bring_up_to_date(ledger)
    with transaction(ledger) as tx:
        page = case_facts.listed(tx, where, limit=limit, before=before)
        _note_unmasking(tx, sees, page.items)
        return CasePage([_shown(one, sees) for one in page.items], page.next)


def exported(ledger: Ledger, where: CaseFilter, sees: Sees) -> Iterator[str]:
    """Give the cases that match as CSV, piece by piece, of which no cell is a formula to a spreadsheet."""
    before: int | None = None
    yield csv_lines([COLUMNS])
    for _ in range(0, EXPORT_MAX, _PIECE):
        page = listed(ledger, where, sees, limit=_PIECE, before=before)
        if page.items:
            yield csv_lines([[*row_of(one).values()] for one in page.items])
        if page.next is None:
            return
        before = int(page.next)


def records(tx: Transaction, ids: Sequence[int], sees: Sees) -> list[CaseRecord]:
    """Return these cases, in this order."""
    return [_shown(one, sees) for one in case_facts.read(tx, ids)]


def find(ledger: Ledger, words: str, sees: Sees) -> CaseRecord | None:
    """Return the case of this id, or else the open one of this member, with both members beside each other."""
    with transaction(ledger) as tx:
        case_id = _id_of(tx, words)
    if case_id is None:
        return None
    with suppress(LedgerUnwritableError, LedgerConflictError), transaction(ledger) as tx:
        cases.judged(tx, [case_id])
    with transaction(ledger) as tx:
        facts = case_facts.case(tx, case_id)
        if facts is None:
            return None
        _note_unmasking(tx, sees, [facts])
        return _with_both(facts, sees)


def acknowledge(ledger: Ledger, operator: Operator, words: str, note: str, sees: Sees) -> CaseAnswer | None:
    """Note that somebody has taken the case up; None: there is no such case."""
    note = mask_text(note.strip())
    with transaction(ledger) as tx:
        case_id = _id_of(tx, words)
        if case_id is None:
            return None
        done = cases.acknowledge(tx, case_id, by=operator.name, note=note or None)
        facts = case_facts.case(tx, case_id)
        if facts is None:
            return None
        answer = "acknowledged" if done else "refused: it is closed"
        asked = {"case": case_id, "member": facts.member_number}
        record(tx, Action(operator.name, operator.role, "acknowledge", answer, note or None, asked, 1))
        return CaseAnswer(str(case_id), done, answer, _with_both(facts, sees))


def look_up(ledger: Ledger, operator: Operator, words: str, of: Settings, sees: Sees) -> CaseAnswer | None:
    """Ask CrowdTwist now who has the address, at most two calls; None: there is no such case.

    Raises:
        AskError: the connection has no address.
    """
    if of.crowdtwist.base_url is None:
        raise AskError("case", "MEMBERSYNC_CROWDTWIST__BASE_URL is not set here, so CrowdTwist cannot be asked")
    with transaction(ledger) as tx:
        case_id = _id_of(tx, words)
        if case_id is None:
            return None
        cases.judged(tx, [case_id])
        taken = cases.take_look_up(tx, case_id, lease_s=desk.LEASE_S)
    troubles = desk.look_up(ledger, of, [taken]) if taken else ["refused: it is closed, or about no e-mail address"]
    with transaction(ledger) as tx:
        facts = case_facts.case(tx, case_id)
        if facts is None:
            return None
        answer = mask_text(troubles[0]) if troubles else f"CrowdTwist shows: {_LOOKED[facts.looked or '']}"
        asked = {"case": case_id, "member": facts.member_number}
        record(tx, Action(operator.name, operator.role, "look up", answer, None, asked, 1))
        return CaseAnswer(str(case_id), not troubles, answer, _with_both(facts, sees))


_LOOKED: dict[str, str] = {
    "": "nobody any more, so it is sent again",
    LookUp.FOUND: "who has the address",
    LookUp.NOBODY: "nobody who has the address",
    LookUp.OWN: "that the member itself has the address",
}


def counts(ledger: Ledger) -> dict[str, int]:
    """Count the open cases by kind."""
    with transaction(ledger) as tx:
        return case_facts.counts(tx)


def _bring_up_to_date(ledger: Ledger) -> None:
    """Judge what is new, and close what is over, as far as it is few; the desk does the rest."""
    with suppress(LedgerUnwritableError, LedgerConflictError), transaction(ledger) as tx:
        changed, _ = cases.refresh(tx, limit=_FRESH, after=0)
        if changed:
            cases.weigh(tx)


def _id_of(tx: Transaction, words: str) -> int | None:
    """Return the case of this id, and only where there is none the open one of this member."""
    if has_control(words):
        return None
    number = id_of(words)
    if number is not None and str(number) == words and case_facts.case(tx, number) is not None:
        return number
    return case_facts.open_case_of(tx, words)


def other_of(ledger: Ledger, words: str, found: CaseRecord) -> str | None:
    """Return the open case of the member of this number, where *found* is the case of this id; None: there is none."""
    if found.member_number == words:
        return None
    with transaction(ledger) as tx:
        other = case_facts.open_case_of(tx, words)
    return None if other is None else str(other)


def _note_unmasking(tx: Transaction, sees: Sees, some: list[CaseFacts]) -> None:
    if sees.unmasked_for is not None and some:
        asked = {"cases": [one.case_id for one in some[:_IDS_FILED]]}
        record(tx, Action(sees.unmasked_for.name, sees.unmasked_for.role, "unmask", "shown", None, asked, len(some)))


_IDS_FILED = 50


def _shown(facts: CaseFacts, sees: Sees) -> CaseRecord:
    kind = CaseKind(facts.kind) if facts.kind else CaseKind.OTHER
    holder = None if facts.holder is None else _holder(facts.holder, sees)
    shown = CaseRecord(
        case_id=str(facts.case_id),
        state="open" if facts.closed_at is None else "closed",
        member_number=facts.member_number,
        instance_id=str(facts.instance_id),
        kind=kind,
        field=facts.field,
        label=_LABELS.get(facts.field or ""),
        value=None if facts.field is None else _value(facts, facts.field, sees),
        character=None if facts.character is None else character_said(facts.character),
        rule=facts.rule,
        message=unmarked(facts.words) if sees.unmasked_for else mask_text(facts.words),
        refused_by=facts.refused_by,
        holder=holder,
        path=[number if sees.holder else MASK for number in facts.path],
        who="",
        what_to_do="",
        unblocks=facts.unblocks,
        coming_instance_id=None if facts.coming_id is None else str(facts.coming_id),
        looked_up=facts.looked,
        opened_at=facts.opened_at,
        acknowledged_at=facts.acknowledged_at,
        acknowledged_by=facts.acknowledged_by,
        note=facts.note,
        closed_at=facts.closed_at,
        closed_how=facts.closed_how,
        held_by_guard=None if facts.coming_hold_id is None else str(facts.coming_hold_id),
        cycle=None if facts.cycle is None else _cycle(facts.cycle, facts.member_number, sees),
    )
    who, what = advice(shown)
    return replace(shown, who=who, what_to_do=what)


def _holder(facts: HolderFacts, sees: Sees) -> CaseHolder:
    age_s = None if facts.seen_at is None else (datetime.now(UTC) - facts.seen_at).total_seconds()
    user_id = None if facts.ct_user_id is None else str(facts.ct_user_id)
    return CaseHolder(
        member_number=facts.member_number if sees.holder else facts.member_number and MASK,
        ct_user_id=user_id if sees.holder else user_id and MASK,
        in_ledger=facts.is_ours,
        active=facts.is_active,
        moves=facts.moves,
        found_by="crowdtwist" if facts.by_look_up else "ledger",
        looked_up_at=facts.seen_at,
        age_s=None if age_s is None else round(max(0.0, age_s), 1),
    )


def _cycle(shown: CycleShown, member_number: str, sees: Sees) -> CaseCycle:
    is_seen = sees.holder or shown.parked_member == member_number
    number = shown.parked_member if is_seen else MASK
    return CaseCycle(number, shown.parked_at, shown.deadline_at, shown.done, shown.steps, shown.is_late)


def _value(facts: CaseFacts, name: str, sees: Sees) -> object:
    sent = next((one for one in _SENT_AS[name] if facts.user and one in facts.user), None)
    value = facts.user[sent] if facts.user and sent else None
    if value in _EMPTY:  # the flow left it out, or it never came to that
        value = facts.member.get(name)
    return value if sees.unmasked_for else mask({name: value})[name]


def _with_both(facts: CaseFacts, sees: Sees) -> CaseRecord:
    return replace(_shown(facts, sees), beside=_beside(facts, sees))


def _beside(facts: CaseFacts, sees: Sees) -> list[Beside] | None:
    """Return the member's newest content beside what is known of who has the address; null: of nobody."""
    if facts.holder is None:
        return None
    user: Mapping[str, Any] = facts.user or facts.member
    other: Mapping[str, Any] = facts.holder.user or {}
    found = []
    for name, sent in _BESIDE:
        mine, theirs = user.get(sent), other.get(_SHOWN_AS.get(sent, sent))
        if name == "member_number":
            mine, theirs = facts.member_number, facts.holder.member_number
        if mine in _EMPTY and theirs in _EMPTY:
            continue
        same = _plain(mine) == _plain(theirs)
        if sent == "is_active":
            mine, theirs = _STANDS.get(_plain(mine), mine), _STANDS.get(_plain(theirs), theirs)
        if not sees.unmasked_for:
            mine, theirs = mask({sent: mine})[sent], mask({sent: theirs})[sent]
        if name == "member_number" and not sees.holder:
            theirs = theirs and MASK
        found.append(Beside(name, _LABELS[name], mine, theirs, same))
    return found


_EMPTY = (None, "")
_STANDS = {"1": "active", "0": "inactive"}
"""How a member stands: CrowdTwist is sent a number, and shows a truth."""


def _plain(value: object) -> str:
    if value in _EMPTY:
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value).strip().casefold()


COLUMNS = [
    *(one.name for one in fields(CaseRecord) if one.name not in ("holder", "cycle", "beside")),
    "holder_member_number",
    "holder_ct_user_id",
    "holder_active",
    "holder_in_ledger",
    "holder_looked_up_at",
]
"""The columns of an export, in this order; new ones come at the end."""


def row_of(one: CaseRecord) -> dict[str, Any]:
    """Return a case as a row of an export, by its columns."""
    return {name: _column(one, name) for name in COLUMNS}


def _column(one: CaseRecord, name: str) -> object:
    if name.startswith("holder_"):
        return None if one.holder is None else getattr(one.holder, name.removeprefix("holder_"))
    return getattr(one, name)
