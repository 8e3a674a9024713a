"""What operators see of what guards hold and do to it: look, release, discard.  Used by api, console and command line.

Whatever changes something is recorded with who asked, in the transaction that does it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from producers.operations import advice
from producers.operations.approval_control import CARRIED_OUT, DISCARD, RELEASE
from producers.operations.job_control import AskError, Operator
from shared.errors import DataError
from shared.ledger import approvals, guards
from shared.ledger.approvals import Wanted
from shared.ledger.audit import Action, record
from shared.ledger.engine import Ledger, repeated, transaction
from shared.ledger.guards import Hold, HoldPage
from shared.ledger.transitions.holds import Decision
from shared.lifecycle.floods import message_of
from shared.masking import mask_text

__all__ = ["DISCARD", "RELEASE", "Decided", "by_guard", "discard", "for_failure_now", "hold", "holds", "release"]


@dataclass(frozen=True, slots=True)
class Decided:
    """What a release or a discard came to; *changed* False: nothing was done, and *answer* says why.

    Shape: *approval_id* where a second person has to approve it first.
    """

    changed: bool
    answer: str
    hold: Hold
    approval_id: str | None = None


def holds(ledger: Ledger, *, limit: int, before: int | None = None) -> HoldPage:
    """List what guards hold and held, newest first."""
    with transaction(ledger) as tx:
        return guards.holds(tx, limit=limit, before=before)


def hold(ledger: Ledger, hold_id: int) -> Hold | None:
    """Return one hold; None: there is none."""
    with transaction(ledger) as tx:
        return guards.hold(tx, hold_id)


def release(
    ledger: Ledger, operator: Operator, hold_id: int, reason: str, *, approval_above: int = 0
) -> Decided | None:
    """Send again what a hold has, first 1, then 10, then the rest, mapped anew; None: there is no such hold.

    Of more than *approval_above* members, 0: of any number, a second person has to approve it first.

    Raises:
        AskError: the reason is missing.
    """
    return _decided(ledger, operator, hold_id, _Asked(RELEASE, reason, approval_above))


def discard(
    ledger: Ledger, operator: Operator, hold_id: int, reason: str, *, approval_above: int = 0
) -> Decided | None:
    """Condemn what a hold has: a flood is told, a mass change is dropped; None: there is no such hold.

    Of more than *approval_above* members, 0: of any number, a second person has to approve it first.

    Raises:
        AskError: the reason is missing.
    """
    return _decided(ledger, operator, hold_id, _Asked(DISCARD, reason, approval_above))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked for, and of how many members a second person has to approve it; 0: of any number nobody."""

    what: str
    reason: str
    approval_above: int


def _decided(ledger: Ledger, operator: Operator, hold_id: int, ask: _Asked) -> Decided | None:
    what, reason, approval_above = ask.what, mask_text(ask.reason.strip()), ask.approval_above
    if not reason:
        raise AskError("reason", "say why")

    def decided() -> Decided | None:
        with transaction(ledger) as tx:
            before = guards.hold(tx, hold_id)
            approval_id = None
            if before is None:
                answer = None
            elif before.ended_at is None and 0 < approval_above < before.held:
                wanted = Wanted(what, before.held, operator.name, reason, guard_id=hold_id)
                approval_id = str(approvals.ask(tx, wanted))
                answer = f"refused for now: a second person has to approve it, `membersync approve {approval_id}`"
            else:
                answer = CARRIED_OUT[what](tx, hold_id, Decision(operator.name, reason))
            changed = answer is not None and not answer.startswith("refused")
            asked, count = {"guard": str(hold_id)}, before.held if before is not None and changed else 0
            said = answer or "refused: there is no such hold"
            record(tx, Action(operator.name, operator.role, what, said, reason, asked, count))
            after = guards.hold(tx, hold_id)
        return None if answer is None or after is None else Decided(changed, answer, after, approval_id)

    return repeated(decided)


def for_failure_now(holds: Iterable[Hold], stage: str | None, code: str | None, message: str = "") -> str:
    """Say what to do about what failed for one cause, and that a guard holds others for the same, where one does."""
    same = message_of(message, None) if code == DataError.code else None
    hold = next((one for one in holds if (one.stage, one.message) == (stage, same)), None)
    return advice.for_failure(stage, code, message) if hold is None else by_guard(hold.id, hold.held)


def by_guard(hold_id: str, others: int = 0) -> str:
    """Say what to do about one who is held by a guard, or met what a guard holds *others* for."""
    held = f"{others} more for the same" if others else "it with others of whom the same is so"
    return f"Nothing for this member alone: guard {hold_id} holds {held}; they are released or discarded at Guards."
