"""What of the ledger may be shown to whom: people are masked unless the reader may see them.

The calls of an instance's activity were masked before they were written; everybody sees them masked.
"""

from dataclasses import replace

from shared.ledger.records import ActivityLine, InstanceDetail, InstanceRecord, InstanceWithActivity, MemberRecord, Page
from shared.masking import mask, mask_text


def masked_page(page: Page) -> Page:
    """Mask the people on a page of instances."""
    return replace(page, items=[_record(one) for one in page.items])


def masked_instance(detail: InstanceDetail) -> InstanceDetail:
    """Mask the people in one instance, its event and its CrowdTwist user."""
    return replace(
        detail,
        instance=_record(detail.instance),
        event=mask(detail.event),
        user=mask(detail.user),
        activity=[_line(line) for line in detail.activity],
    )


def masked_member(member: MemberRecord) -> MemberRecord:
    """Mask the people in what is known of one member."""
    instances = [InstanceWithActivity(_record(one.instance), [_line(line) for line in one.activity]) for one in member.instances]
    return replace(member, told_error=mask_text(member.told_error or "") or None, instances=instances)


def _record(record: InstanceRecord) -> InstanceRecord:
    return replace(record, error=mask_text(record.error))


def _line(line: ActivityLine) -> ActivityLine:
    return replace(line, what=mask_text(line.what))
