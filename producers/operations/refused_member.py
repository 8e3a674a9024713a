"""A member of whom no event was ever taken in, and some were refused: said so wherever somebody looks for it."""

from shared.ledger.engine import Transaction
from shared.ledger.filters import has_control
from shared.ledger.refusals import RefusalFilter, RefusalPage, refusals

_SHOWN = 20


def refusals_of_member(tx: Transaction, member_number: str) -> RefusalPage:
    """Give the newest refusals of events that named this member."""
    if has_control(member_number):
        return RefusalPage([], None)
    return refusals(tx, RefusalFilter(members=(member_number,)), limit=_SHOWN)


def words_of(found: RefusalPage) -> str:
    """Say what became of the events of a member that nothing else is known of."""
    if not found.items:
        return "no event of this member has arrived"
    newest = found.items[0]
    many = f"{len(found.items)}{' or more' if found.next else ''}"
    why = f"{newest.field}: {newest.reason}" if newest.field else newest.reason
    at = f"{newest.at:%Y-%m-%d %H:%M:%SZ}"
    return f"no event of this member was accepted, {many} refused; the newest at {at} from {newest.sender}: {why}"
