"""Jobs that are under way, a step at a time."""

from shared.errors import LedgerConflictError
from shared.ledger.engine import Ledger, transaction
from shared.ledger.transitions import requeues
from shared.logs import logger
from shared.settings import Settings

log = logger(__name__)


def carry_on(ledger: Ledger, settings: Settings) -> bool:
    """Take one job a little further, for the dispatcher's turn; say whether to call again at once.

    Cheap when there is no job; a job that another dispatcher has is passed by.

    Raises:
        LedgerError: the ledger is away.
    """
    try:
        with transaction(ledger) as tx:
            return requeues.advance(tx, resubmits_max=settings.requeue_max)
    except LedgerConflictError as error:
        log.warning("a job's turn met another transaction, and is taken again", cause=str(error))
        return False
