"""The budgets of the connections, as permits that are paid for in the ledger."""

from functools import partial

from shared.ledger import budget
from shared.ledger.budget import Budget
from shared.ledger.engine import engine, transaction
from shared.pipeline import Lane, Stage
from shared.settings import settings
from workers.permits import Permits


def permits(*, heeds_wait: bool = True) -> dict[Stage, Permits]:
    """Give the permits of each connection that has a budget; *heeds_wait*: none while they asked us to wait."""
    limits = {stage: settings().connection(stage) for stage in Stage}
    return {
        stage: Permits(stage, partial(_pay, stage, Budget(of.budget_per_minute, of.live_share), heeds_wait=heeds_wait))
        for stage, of in limits.items()
        if of.budget_per_minute
    }


def _pay(stage: Stage, limit: Budget, lane: Lane, wanted: int, *, heeds_wait: bool) -> tuple[int, float]:
    with transaction(engine(), durable=False) as connection:
        grant = budget.pay(connection, stage, lane, wanted, limit, heeds_wait=heeds_wait)
    return grant.calls, grant.more_in_s
