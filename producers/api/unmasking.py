"""Who is shown people as they are: whoever has the right to, and each time it is recorded before they see anybody."""

from collections.abc import Mapping
from typing import Any

from producers import ops
from producers.api.auth import Principal, Right
from producers.ops import Operator
from producers.shown import masked_instance, masked_member, masked_page
from shared.ledger.engine import Ledger
from shared.ledger.records import InstanceDetail, MemberRecord, Page


def page_for(who: Principal, ledger: Ledger, page: Page) -> Page:
    """Give a page of instances as *who* may see it."""
    if not who.may(Right.UNMASKED):
        return masked_page(page)
    if page.items:
        _record(who, ledger, ops.instances_asked([one.instance_id for one in page.items]), len(page.items))
    return page


def instance_for(who: Principal, ledger: Ledger, detail: InstanceDetail) -> InstanceDetail:
    """Give one instance as *who* may see it."""
    if not who.may(Right.UNMASKED):
        return masked_instance(detail)
    _record(who, ledger, ops.instances_asked([detail.instance_id]), 1)
    return detail


def member_for(who: Principal, ledger: Ledger, member: MemberRecord) -> MemberRecord:
    """Give one member as *who* may see it."""
    if not who.may(Right.UNMASKED):
        return masked_member(member)
    _record(who, ledger, {"member": member.member_number}, len(member.instances))
    return member


def _record(who: Principal, ledger: Ledger, asked: Mapping[str, Any], count: int) -> None:
    ops.record_unmasking(ledger, Operator(who.name, who.role), asked=asked, count=count)
