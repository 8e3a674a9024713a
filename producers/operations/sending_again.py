"""Send a member's newest accepted event again, whatever CrowdTwist is believed to have: an operator wants it so."""

from secrets import token_hex

from producers.intake.accept import IntakeRules, Receipt, accept
from producers.operations.job_control import AskError, Operator
from shared.events import parse_event
from shared.ledger import views
from shared.ledger.engine import Ledger, transaction
from shared.ledger.operators import Action, record
from shared.masking import mask_text
from shared.pipeline import Lane
from shared.settings import Settings

WHAT = "send again"
"""What the audit calls it."""
_ANY_SIZE = 2**31  # it was taken in once


def send_again(ledger: Ledger, operator: Operator, number: str, reason: str, settings: Settings) -> Receipt:
    """Take the newest accepted event of a member in once more, as an event of its own; it is recorded.

    It has the version of the one that it repeats, so that whatever is newer goes before it.

    Raises:
        AskError: there is no such member, no event of it was to be sent, or nobody says why.
    """
    if not reason.strip():
        raise AskError("reason", "say why")
    with transaction(ledger) as tx:
        member = views.member(tx, number, limit=1)
        newest = int(member.newest_instance_id) if member and member.newest_instance_id else None
        found = None if newest is None else views.instance(tx, newest)
    if found is None or found.event is None:
        raise AskError("member", "no event of this member was to be sent so far")
    again = {**found.event, "event_id": f"again-{found.instance_id}-{token_hex(6)}", "force": True}
    event = parse_event(again, max_bytes=_ANY_SIZE)
    rules = IntakeRules(Lane.LIVE, settings.program_id, settings.guard.future_s)
    (receipt,) = accept(ledger, [(0, event)], rules)
    answer = f"instance {receipt.instance_id}" if receipt.instance_id else f"{receipt.outcome}: {receipt.reason}"
    asked = {"number": number, "instance_id": found.instance_id}
    with transaction(ledger) as tx:
        action = Action(operator.name, operator.role, WHAT, answer, mask_text(reason.strip()), asked, 1)
        record(tx, action)
    return receipt
