"""Who is shown people as they are: each time it is recorded before they see anybody.  Used by api and command line.

*reader* is who may and wants to see them so; None: people are masked.
"""

from producers import ops
from producers.ops import Operator
from producers.shown import masked_instance, masked_member, masked_page
from shared.ledger.engine import Ledger
from shared.ledger.records import InstanceDetail, MemberRecord, Page


def page_for(reader: Operator | None, ledger: Ledger, page: Page) -> Page:
    """Give a page of instances as *reader* sees it."""
    if reader is None:
        return masked_page(page)
    if page.items:
        shown = [one.instance_id for one in page.items]
        ops.record_unmasking(ledger, reader, asked=ops.instances_asked(shown), count=len(shown))
    return page


def instance_for(reader: Operator | None, ledger: Ledger, detail: InstanceDetail) -> InstanceDetail:
    """Give one instance as *reader* sees it."""
    if reader is None:
        return masked_instance(detail)
    ops.record_unmasking(ledger, reader, asked=ops.instances_asked([detail.instance_id]), count=1)
    return detail


def member_for(reader: Operator | None, ledger: Ledger, member: MemberRecord) -> MemberRecord:
    """Give one member as *reader* sees it."""
    if reader is None:
        return masked_member(member)
    asked = {"member": member.member_number}
    ops.record_unmasking(ledger, reader, asked=asked, count=len(member.instances))
    return member
