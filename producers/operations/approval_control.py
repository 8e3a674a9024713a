"""What operators see of what waits for a second person, and do: approve, refuse.  Used by api, console, command line.

`MEMBERSYNC_OPERATIONS__APPROVAL_ABOVE` says from how many on: a requeue, discard, resend or repair is made and does not
begin, a decision on a guard's hold is kept and not carried out.  Whoever asked for it cannot approve it.  Both names
are kept with it, in the job, and in the audit, in the transaction that does it.
"""

from dataclasses import dataclass

from producers.operations.job_control import AskError, Operator
from shared.ledger import approvals
from shared.ledger.approvals import Approval, ApprovalPage, ApprovalState
from shared.ledger.audit import Action, record
from shared.ledger.engine import Ledger, Transaction, repeated, transaction
from shared.ledger.jobs import Kind, read_job
from shared.ledger.transitions import holds, requeues
from shared.ledger.transitions.holds import Decision
from shared.masking import mask_text

APPROVE, REFUSE = "approve", "refuse"
"""What the audit calls them."""
RELEASE, DISCARD = "release guard", "discard guard"
"""The decisions on a guard's hold, as the audit calls them."""
CARRIED_OUT = {RELEASE: holds.release, DISCARD: holds.condemn}


@dataclass(frozen=True, slots=True)
class Settled:
    """What it came to; *changed* False: nothing was done, and *answer* says why."""

    changed: bool
    answer: str
    approval: Approval


class OwnApprovalError(AskError):
    """Whoever asked for something cannot approve it."""


def listed(ledger: Ledger, *, limit: int, before: int | None = None, waiting: bool = False) -> ApprovalPage:
    """List what waits for a second person and did, newest first; *waiting*: only what does."""
    with transaction(ledger) as tx:
        return approvals.approvals(tx, limit=limit, before=before, waiting=waiting)


def approve(ledger: Ledger, operator: Operator, approval_id: int, reason: str = "") -> Settled | None:
    """Let it be done, as whoever asked said; None: there is no such thing.

    Raises:
        OwnApprovalError: *operator* asked for it.
    """
    return _settled(ledger, operator, approval_id, reason, APPROVE)


def refuse(ledger: Ledger, operator: Operator, approval_id: int, reason: str = "") -> Settled | None:
    """Have it not done; None: there is no such thing.  Whoever asked may take it back so, too."""
    return _settled(ledger, operator, approval_id, reason, REFUSE)


def _settled(ledger: Ledger, operator: Operator, approval_id: int, reason: str, what: str) -> Settled | None:
    said = mask_text(reason.strip())

    def settled() -> Settled | None:
        with transaction(ledger) as tx:
            found = approvals.lock(tx, approval_id)
            is_own = found is not None and what == APPROVE and found.asked_by == operator.name
            changed = False
            if found is None:
                answer = "refused: nothing of this id waits"
            elif found.state != ApprovalState.WAITING:
                answer = f"refused: it is {found.state}"
            elif is_own:
                answer = "refused: whoever asked for it cannot approve it"
            else:
                changed, answer = (_approve if what == APPROVE else _refuse)(tx, operator, found)
                state = ApprovalState.LAPSED if not changed else ApprovalState.APPROVED
                state = ApprovalState.REFUSED if what == REFUSE else state
                approvals.settle(tx, approval_id, state, by=operator.name, answer=answer)
            asked = {"approval": str(approval_id)}
            if found is not None:
                asked |= {"what": found.what, "asked_by": found.asked_by}
                asked |= {"job": found.job_id} if found.job_id else {"guard": found.guard_id or ""}
            count = found.count if found is not None and changed else 0
            record(tx, Action(operator.name, operator.role, what, answer, said or None, asked, count, denied=is_own))
            after = approvals.lock(tx, approval_id)
        if is_own:
            raise OwnApprovalError("approval", "was asked for by you: another operator has to approve it")
        return None if after is None else Settled(changed, answer, after)

    return repeated(settled)


def _approve(tx: Transaction, operator: Operator, found: Approval) -> tuple[bool, str]:
    """Return whether it is done now, and what came of it."""
    if found.job_id is not None:
        kind = approvals.let_go(tx, int(found.job_id), by=operator.name)
        return (
            kind is not None,
            "refused: it was stopped" if kind is None else f"approved: {kind} {found.job_id} begins",
        )
    by = Decision(f"{found.asked_by}, approved by {operator.name}", found.reason)
    answer = CARRIED_OUT[found.what](tx, int(found.guard_id or 0), by) or "refused: there is no such hold"
    return not answer.startswith("refused"), answer


def _refuse(tx: Transaction, operator: Operator, found: Approval) -> tuple[bool, str]:
    if found.job_id is not None:
        job = read_job(tx, None, int(found.job_id))
        if job is not None:
            requeues.stop(tx, Kind(job.kind), int(found.job_id), f"refused by {operator.name}")
    return True, f"refused by {operator.name}: nothing of it is done"
