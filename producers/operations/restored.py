"""What is done once after the ledger was restored to a state that is older than what was sent."""

from producers.operations.job_control import AskError, Operator
from shared.ledger import connections, learned
from shared.ledger.audit import Action, record
from shared.ledger.engine import Ledger, repeated, transaction
from shared.ledger.learned import Checks
from shared.masking import mask_text
from shared.pipeline import SYSTEMS, Stage

DROP_CHECKS = "drop checks"
"""What the audit calls it."""


class NotPausedError(Exception):
    """A connection is not paused, so that a check may be out just now; its text says which."""


def drop_checks(ledger: Ledger, operator: Operator, reason: str, *, dry_run: bool = False) -> Checks:
    """Drop what was to be looked at or told once more after a lost answer; return how much that is.

    Such a check repeats what the ledger has, which is older than what was sent after the backup.

    Raises:
        AskError: the reason is missing.
        NotPausedError: CrowdTwist or Siebel is not paused.
    """
    why = mask_text(reason.strip())
    if not why and not dry_run:
        raise AskError("reason", "say why")

    def dropped() -> Checks:
        with transaction(ledger) as tx:
            if dry_run:
                return learned.checks(tx)
            at_work = [stage for stage in (Stage.CROWDTWIST, Stage.SIEBEL) if not connections.gate(tx, stage).paused]
            if at_work:
                raise NotPausedError(f"{' and '.join(SYSTEMS[stage] for stage in at_work)} must be paused before")
            found = learned.drop_checks(tx)
            count = found.read_backs + found.tellings
            answer = f"dropped {found.read_backs} looks at CrowdTwist, {found.tellings} repetitions to Siebel"
            record(tx, Action(operator.name, operator.role, DROP_CHECKS, answer, why, {}, count))
        return found

    return repeated(dropped)
