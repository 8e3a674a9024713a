"""Who is shown people as they are: each time it is recorded before they see anybody.  Used by api and command line.

*reader* is who may and wants to see them so; None: people are masked.
"""

from dataclasses import replace

from producers.operations import job_control
from producers.operations.job_control import Operator
from producers.operations.masked import masked_instance, masked_member, masked_page
from producers.operations.unmasked_calls import revealed, unhidden
from shared.ledger import inputs
from shared.ledger.engine import Ledger, transaction
from shared.ledger.records import InstanceDetail, MemberRecord, Page
from shared.personal import unmarked


def page_for(reader: Operator | None, ledger: Ledger, page: Page) -> Page:
    """Give a page of instances as *reader* sees it."""
    if reader is None:
        return masked_page(page)
    if page.items:
        shown = [one.instance_id for one in page.items]
        job_control.record_unmasking(ledger, reader, asked=job_control.instances_asked(shown), count=len(shown))
    return replace(page, items=[unhidden(one) for one in page.items])


def instance_for(reader: Operator | None, ledger: Ledger, detail: InstanceDetail) -> InstanceDetail:
    """Give one instance as *reader* sees it."""
    if reader is None:
        return masked_instance(detail)
    job_control.record_unmasking(ledger, reader, asked=job_control.instances_asked([detail.instance_id]), count=1)
    return revealed(detail, detail.event, detail.user)


def member_for(reader: Operator | None, ledger: Ledger, member: MemberRecord) -> MemberRecord:
    """Give one member as *reader* sees it."""
    if reader is None:
        return masked_member(member)
    asked = {"member": member.member_number}
    job_control.record_unmasking(ledger, reader, asked=asked, count=len(member.instances))
    return revealed_member(ledger, member)


def revealed_member(ledger: Ledger, member: MemberRecord) -> MemberRecord:
    """Give one member with the calls of its instances as they were made."""
    with transaction(ledger) as tx:
        found = inputs.carried(tx, [int(one.instance_id) for one in member.instances])
    carried = {str(one.instance_id): (one.event, one.user) for one in found}
    instances = [revealed(one, *carried.get(one.instance_id, (None, None))) for one in member.instances]
    told_error = None if member.told_error is None else unmarked(member.told_error)
    return replace(member, told_error=told_error, instances=instances)
