"""The budgets of the connections, as permits that are paid for in the ledger."""

from functools import partial

from shared.ledger import budget
from shared.ledger.budget import Budget
from shared.ledger.engine import engine, transaction
from shared.pipeline import Lane, Stage
from shared.settings import settings
from workers.permits import Permits


def permits() -> dict[Stage, Permits]:
    """Give the permits of each connection that has a budget."""
    limits = {stage: settings().connection(stage) for stage in Stage}
    return {
        stage: Permits(stage, partial(_pay, stage, Budget(of.budget_per_minute, of.live_share)))
        for stage, of in limits.items()
        if of.budget_per_minute
    }


def _pay(stage: Stage, limit: Budget, lane: Lane, wanted: int) -> tuple[int, float]:
    with transaction(engine(), durable=False) as connection:
        grant = budget.pay(connection, stage, lane, wanted, limit)
    return grant.calls, grant.more_in_s
