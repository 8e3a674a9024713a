"""What people read of instances and members: masked, unless it says whom they are shown to as they are.

Every read that may hold a person is here, and masks by itself.  *unmasked_for* names somebody who may see people and
wants to; it is recorded in the transaction of the read, so that nobody is shown unmasked when it cannot be.

The calls of an instance are masked before they are kept.  What a masked value stood for is looked up, by its name, in
what the instance carries: its event, and the CrowdTwist user made of it.  It is put back only where its mask is what
was kept, so that nothing is shown that was not sent; what we do not have, as words of the other side, stays masked.

Which ones they want comes as people and URLs write it: words and instants in text, into the filter of the ledger.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from producers.operations.job_control import Operator, instances_asked
from shared.fields import labels as siebel_labels
from shared.ledger import causes, people, views
from shared.ledger.audit import Action, record
from shared.ledger.engine import Transaction
from shared.ledger.filters import CONDITIONS, Filter, has_control
from shared.ledger.records import InstanceDetail, InstanceRecord, InstanceWithActivity, MemberRecord, Page
from shared.ledger.refusals import RefusalFilter, RefusalPage, refusals
from shared.masking import MASK, mask, mask_email, mask_text
from shared.personal import marked_in, unmarked, values_of

LIMIT_DEFAULT = 50
LIMIT_MAX = 1_000
INSTANT_SAID = "2026-11-23T08:51:00Z (RFC 3339), a date, or an age: 15m, 2h, 7d"
"""How an instant may be said, as `instant_of` reads it."""

_AGO = re.compile(r"(\d{1,6})\s*([smhdw])", re.ASCII)
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
"""What the letter behind a number stands for, in seconds."""
_BLANK_FOR_PLUS = re.compile(r" (?=\d\d:\d\d$)", re.ASCII)
_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)
_ID = re.compile(r"\d{1,18}", re.ASCII)


def filter_of(now: datetime, **words: str | Sequence[str] | None) -> Filter:
    """Return the filter that is said in *words*, by the names of its conditions.

    Shape: of an enumeration the member or its word, an instant as `instant_of` reads it; nothing: any.

    Raises:
        ValueError: with the name of the field and one sentence.
    """
    given: dict[str, Any] = {}
    for row in CONDITIONS:
        said = words.pop(row.name, None)
        if said and isinstance(said, str):
            given[row.attribute] = (
                instant_of(row.name, said, now) if issubclass(row.of, datetime) else row.of(said.strip())
            )
        elif said:
            given[row.attribute] = tuple(dict.fromkeys(map(row.of, said)))
    if words:
        raise TypeError(f"no conditions: {', '.join(words)}")
    return Filter(**given)


def refusals_of(  # noqa: PLR0913  # one word each
    *,
    now: datetime,
    sender: Sequence[str] = (),
    field: Sequence[str] = (),
    member: Sequence[str] = (),
    since: str | None = None,
    until: str | None = None,
) -> RefusalFilter:
    """Build the filter of refusals.

    Raises:
        ValueError: with the name of the field and one sentence.
    """
    bounds = instant_of("since", since, now), instant_of("until", until, now)
    return RefusalFilter(tuple(sender), tuple(field), tuple(member), *bounds)


def id_of(words: str) -> int | None:
    """Read an instance id or cursor; None: there can be no such id."""
    return int(words) if _ID.fullmatch(words) else None


def instant_of(name: str, words: str | None, now: datetime) -> datetime | None:
    """Read RFC 3339, a date, both UTC unless they say otherwise, or how long ago: `90s`, `15m`, `2h`, `7d`, `1w`.

    Nothing was before the year 1900 or will be after 2200: such an instant becomes the nearest of those.

    Raises:
        ValueError: with *name* and one sentence.
    """
    if not words:
        return None
    try:
        if ago := _AGO.fullmatch(words.strip()):
            return now - min(timedelta(seconds=int(ago[1]) * UNITS_S[ago[2]]), now - _EARLIEST)
        instant = datetime.fromisoformat(_BLANK_FOR_PLUS.sub("+", words.strip()))  # a URL's + that became a blank
    except ValueError:
        raise ValueError(f"{name}: must be an instant like 2026-11-23T08:51:00Z, a date, or an age like 2h") from None
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return min(max(aware, _EARLIEST), _LATEST).astimezone(UTC)


_R = TypeVar("_R", bound=InstanceRecord)
_S = TypeVar("_S", bound=InstanceWithActivity)
_Carried = Mapping[str, Any] | None
_IDS = ("event_id", "member_number", "row_id", "program_id")
_WRITTEN_ANEW = {"date_of_birth"}
"""Fields that Siebel's message writes in another form than the event."""
_REFUSALS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class InstanceAndMember:
    """One instance, and its member with no more than its newest instance."""

    instance: InstanceDetail
    member: MemberRecord | None


@dataclass(frozen=True, slots=True)
class MemberAndEnds:
    """One member, its newest instance, and the one that CrowdTwist has; None: there was none, or it was pruned."""

    member: MemberRecord
    newest: InstanceDetail | None
    applied: InstanceDetail | None


def instances(
    tx: Transaction,
    where: Filter,
    *,
    limit: int,
    before: int | None = None,
    unmasked_for: Operator | None = None,
) -> Page:
    """List the newest instances that match."""
    page = views.instances(tx, where, limit=limit, before=before)
    if unmasked_for is None:
        return _masked_page(page)
    if page.items:
        _unmask(tx, unmasked_for, instances_asked([one.instance_id for one in page.items]), len(page.items))
    return replace(page, items=[_unhidden(one) for one in page.items])


def failures(tx: Transaction, where: Filter, message: str, *, limit: int, before: int | None = None) -> Page:
    """List the newest that match, of one cause where its *message* is given."""
    if not message:
        return instances(tx, where, limit=limit, before=before)
    return listed(tx, causes.instances_of(tx, where, message), limit=limit, before=before)


def listed(tx: Transaction, ids: Sequence[int], *, limit: int, before: int | None = None) -> Page:
    """List these instances, newest first."""
    return _masked_page(views.listed(tx, ids, limit=limit, before=before))


def instance(tx: Transaction, instance_id: int, *, unmasked_for: Operator | None = None) -> InstanceDetail | None:
    """Return one instance with its payload and all that happened to it; None: there is none."""
    found = views.instance(tx, instance_id)
    if found is None or unmasked_for is None:
        return found and _masked_instance(found)
    _unmask(tx, unmasked_for, instances_asked([found.instance_id]), 1)
    return revealed(found, found.event, found.user)


def instance_and_member(
    tx: Transaction, instance_id: int, *, unmasked_for: Operator | None = None
) -> InstanceAndMember | None:
    """Return one instance, as `instance` does, and its member."""
    found = instance(tx, instance_id, unmasked_for=unmasked_for)
    if found is None:
        return None
    member = views.member(tx, found.member_number, limit=1)
    return InstanceAndMember(found, member and _member(tx, member, unmasked=unmasked_for is not None))


def member(
    tx: Transaction,
    member_number: str,
    *,
    limit: int,
    before: int | None = None,
    unmasked_for: Operator | None = None,
) -> MemberRecord | None:
    """Return one member with its newest instances, each with what happened to it; None: never heard of."""
    found = None if has_control(member_number) else views.member(tx, member_number, limit=limit, before=before)
    if found is None:
        return None
    if unmasked_for is not None:
        _unmask(tx, unmasked_for, {"member": found.member_number}, len(found.instances))
    return _member(tx, found, unmasked=unmasked_for is not None)


def member_and_ends(
    tx: Transaction,
    member_number: str,
    *,
    limit: int,
    before: int | None = None,
    unmasked_for: Operator | None = None,
) -> MemberAndEnds | None:
    """Return one member, as `member` does, and the two instances that say how it stands."""
    found = member(tx, member_number, limit=limit, before=before, unmasked_for=unmasked_for)
    if found is None:
        return None
    ends: list[InstanceDetail | None] = []
    for instance_id in (found.newest_instance_id, found.applied_instance_id):
        one = views.instance(tx, int(instance_id)) if instance_id else None
        if one is not None:
            one = revealed(one, one.event, one.user) if unmasked_for else _masked_instance(one)
        ends.append(one)
    return MemberAndEnds(found, *ends)


def members_of_address(tx: Transaction, address: str, *, unmasked_for: Operator) -> list[str]:
    """Return the members of an exact e-mail address; that it was asked is recorded, the address is not."""
    found = people.members_of(tx, address)
    if found:
        _unmask(tx, unmasked_for, {"search": "e-mail address"}, len(found))
    return found


def refusals_of_member(tx: Transaction, member_number: str) -> RefusalPage:
    """Return the newest refusals of events that named this member."""
    if has_control(member_number):
        return RefusalPage([], None)
    return refusals(tx, RefusalFilter(members=(member_number,)), limit=_REFUSALS_SHOWN)


def unknown_member(refused: RefusalPage) -> str:
    """Say what became of the events of a member that nothing but these refusals is known of."""
    if not refused.items:
        return "no event of this member has arrived"
    newest = refused.items[0]
    many = f"{len(refused.items)}{' or more' if refused.next else ''}"
    why = f"{newest.field}: {newest.reason}" if newest.field else newest.reason
    at = f"{newest.at:%Y-%m-%d %H:%M:%SZ}"
    return f"no event of this member was accepted, {many} refused; the newest at {at} from {newest.sender}: {why}"


def _unmask(tx: Transaction, operator: Operator, asked: Mapping[str, Any], count: int) -> None:
    """Record who is shown whom.  Units: *count* instances."""
    record(tx, Action(operator.name, operator.role, "unmask", "shown", None, asked, count))


def _masked_page(page: Page) -> Page:
    return replace(page, items=[_masked(one) for one in page.items])


def _masked_instance(detail: InstanceDetail) -> InstanceDetail:
    return replace(_masked_story(detail), event=mask(marked_event(detail), words=False), user=mask(detail.user))


def marked_event(detail: InstanceDetail) -> Mapping[str, Any] | None:
    """Return the event of an instance with the people in it marked, to be masked; None: it is kept no longer."""
    event = detail.event or {}
    member = event.get("member") or {}
    keep = [str(of.get(name) or "") for of in (event, member) for name in _IDS]
    marked: Mapping[str, Any] | None = marked_in(detail.event, values_of(detail.user, member), keep)
    return marked


def _masked(record: _R) -> _R:
    return replace(
        record, error=mask_text(record.error), reason=None if record.reason is None else mask_text(record.reason)
    )


def _masked_story(story: _S) -> _S:
    return replace(_masked(story), activity=[replace(line, what=mask_text(line.what)) for line in story.activity])


def _member(tx: Transaction, found: MemberRecord, *, unmasked: bool) -> MemberRecord:
    words = found.told_error
    if not unmasked:
        stories = [_masked_story(one) for one in found.instances]
        return replace(found, told_error=None if words is None else mask_text(words), instances=stories)
    carried = people.carried(tx, [int(one.instance_id) for one in found.instances])
    known = {one.instance_id: (one.event, one.user) for one in carried}
    stories = [revealed(one, *known.get(int(one.instance_id), (None, None))) for one in found.instances]
    return replace(found, told_error=None if words is None else unmarked(words), instances=stories)


def revealed(story: _S, event: _Carried, user: _Carried) -> _S:
    """Return *story* with its calls as they were made, as far as *event* and *user* tell.  Pure; records nothing."""
    member: Mapping[str, Any] = (event or {}).get("member") or {}
    known = {
        label: str(member[field])
        for field, labels in siebel_labels().items()
        for label in labels
        if field in member and field not in _WRITTEN_ANEW
    }
    known |= user or {}
    addresses_ = {str(one) for one in (member.get("email_address"), known.get("email_address")) if one}
    masks = {masked: address for address in addresses_ if (masked := mask_email(address)) != MASK}
    activity = []
    for line in story.activity:
        calls = [
            call | {name: _filled(name, call[name], known, masks) for name in ("request", "response") if name in call}
            for call in line.calls
        ]
        activity.append(replace(line, what=_readdressed(line.what, masks), calls=calls))
    return replace(_unhidden(story), activity=activity)


def _unhidden(record: _R) -> _R:
    """Return *record* with the words of the other side as they were said."""
    return replace(record, error=unmarked(record.error))


def _filled(name: str, kept: object, known: Mapping[str, Any], masks: Mapping[str, str]) -> object:
    if isinstance(kept, Mapping):
        return {inner: _filled(inner, part, known, masks) for inner, part in kept.items()}
    if isinstance(kept, list):
        return [_filled(name, part, known, masks) for part in kept]
    if name in known and mask({name: known[name]})[name] == kept:
        return known[name]
    return _readdressed(kept, masks) if isinstance(kept, str) else kept


def _readdressed(words: str, masks: Mapping[str, str]) -> str:
    for masked, address in masks.items():
        words = words.replace(masked, address)
    return words
