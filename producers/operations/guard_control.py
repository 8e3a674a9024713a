"""What operators see of what guards hold and do to it: look, release, discard.  Used by api, console and command line.

Whatever changes something is recorded with who asked, in the transaction that does it.
"""

from dataclasses import dataclass

from producers.operations.job_control import AskError, Operator
from shared.ledger import guards
from shared.ledger.engine import Ledger, repeated, transaction
from shared.ledger.guards import Hold, HoldPage
from shared.ledger.jobs import Action, record
from shared.ledger.transitions import holds as decisions
from shared.ledger.transitions.holds import Decision
from shared.masking import mask_text

RELEASE, DISCARD = "release guard", "discard guard"
"""What the audit calls them."""
_DOES = {RELEASE: decisions.release, DISCARD: decisions.condemn}


@dataclass(frozen=True, slots=True)
class Decided:
    """What a release or a discard came to; *changed* False: nothing was done, and *answer* says why."""

    changed: bool
    answer: str
    hold: Hold


def holds(ledger: Ledger, *, limit: int, before: int | None = None) -> HoldPage:
    """List what guards hold and held, newest first."""
    with transaction(ledger) as tx:
        return guards.holds(tx, limit=limit, before=before)


def hold(ledger: Ledger, hold_id: int) -> Hold | None:
    """Return one hold; None: there is none."""
    with transaction(ledger) as tx:
        return guards.hold(tx, hold_id)


def release(ledger: Ledger, operator: Operator, hold_id: int, reason: str) -> Decided | None:
    """Send again what a hold has, first 1, then 10, then the rest, mapped anew; None: there is no such hold.

    Raises:
        AskError: the reason is missing.
    """
    return _decided(ledger, operator, hold_id, reason, RELEASE)


def discard(ledger: Ledger, operator: Operator, hold_id: int, reason: str) -> Decided | None:
    """Condemn what a hold has: its members are Data Errors, and Siebel is told; None: there is no such hold.

    Raises:
        AskError: the reason is missing.
    """
    return _decided(ledger, operator, hold_id, reason, DISCARD)


def _decided(ledger: Ledger, operator: Operator, hold_id: int, reason: str, what: str) -> Decided | None:
    reason = mask_text(reason.strip())
    if not reason:
        raise AskError("reason", "say why")

    def decided() -> Decided | None:
        with transaction(ledger) as tx:
            before = guards.hold(tx, hold_id)
            answer = None if before is None else _DOES[what](tx, hold_id, Decision(operator.name, reason))
            changed = answer is not None and not answer.startswith("refused")
            asked, count = {"guard": str(hold_id)}, before.held if before is not None and changed else 0
            said = answer or "refused: there is no such hold"
            record(tx, Action(operator.name, operator.role, what, said, reason, asked, count))
            after = guards.hold(tx, hold_id)
        return None if answer is None or after is None else Decided(changed, answer, after)

    return repeated(decided)
