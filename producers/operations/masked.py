"""What of the ledger may be shown to whom: people are masked unless the reader may see them.

The calls of an instance's activity were masked before they were written; `revealing` knows more.
"""

from dataclasses import replace
from typing import TypeVar

from shared.ledger.records import InstanceDetail, InstanceRecord, InstanceWithActivity, MemberRecord, Page
from shared.masking import mask, mask_text
from shared.personal import marked_in, values_of

_R = TypeVar("_R", bound=InstanceRecord)
_S = TypeVar("_S", bound=InstanceWithActivity)
_IDS = ("event_id", "member_number", "row_id", "program_id")


def masked_page(page: Page) -> Page:
    """Mask the people on a page of instances."""
    return replace(page, items=[_record(one) for one in page.items])


def masked_instance(detail: InstanceDetail) -> InstanceDetail:
    """Mask the people in one instance, its event and its CrowdTwist user."""
    event = detail.event or {}
    member = event.get("member") or {}
    keep = [str(of.get(name) or "") for of in (event, member) for name in _IDS]
    marked = marked_in(detail.event, values_of(detail.user, member), keep)
    return replace(_story(detail), event=mask(marked, words=False), user=mask(detail.user))


def masked_member(member: MemberRecord) -> MemberRecord:
    """Mask the people in what is known of one member."""
    return replace(member, told_error=_text(member.told_error), instances=[_story(one) for one in member.instances])


def _record(record: _R) -> _R:
    return replace(record, error=mask_text(record.error), reason=_text(record.reason))


def _story(story: _S) -> _S:
    activity = [replace(line, what=mask_text(line.what)) for line in story.activity]
    return replace(_record(story), activity=activity)


def _text(text: str | None) -> str | None:
    return None if text is None else mask_text(text)
