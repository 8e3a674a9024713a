"""The budgets of the connections, as permits that are paid for in the ledger, and as what forecasts go by."""

from functools import partial

from shared.lease_clock import lease_clock
from shared.ledger import spending
from shared.ledger.engine import Ledger, transaction
from shared.ledger.forecasts import Terms
from shared.ledger.spending import Budget
from shared.pipeline import Lane, Stage
from shared.settings import Settings
from shared.systems.permits import Permits


def budgets(of: Settings) -> dict[Stage, Budget]:
    """Return the budgets of the connections that have one."""
    limits = {stage: of.connection(stage) for stage in Stage}
    return {
        stage: Budget(stage, limit.budget_per_minute, limit.live_share)
        for stage, limit in limits.items()
        if limit.budget_per_minute
    }


def pace_terms(of: Settings) -> Terms:
    """Return what the settings say of how fast instances can go."""
    return Terms(budgets(of), of.siebel.rows_per_request)


def permits(ledger: Ledger, of: Settings, *, heeds_wait: bool = True) -> dict[Stage, Permits]:
    """Return the permits of each connection that has a budget; *heeds_wait*: none while they asked us to wait."""

    def pay(limit: Budget, lane: Lane, wanted: int) -> tuple[int, float, float]:
        with transaction(ledger) as tx:
            grant = spending.pay(tx, limit, lane, wanted, heeds_wait=heeds_wait)
        return grant.calls, grant.more_in_s, grant.paid_at

    return {
        stage: Permits(stage, partial(pay, limit), partial(_charge, ledger, stage))
        for stage, limit in budgets(of).items()
    }


def prepaid(ledger: Ledger, stage: Stage) -> Permits:
    """Return permits of calls that are paid for before they are asked for: only what is late is counted once more."""
    return Permits(stage, lambda _, wanted: (wanted, 0.0, lease_clock()), partial(_charge, ledger, stage))


def _charge(ledger: Ledger, stage: Stage, lane: Lane, calls: int) -> None:
    with transaction(ledger) as tx:
        spending.charge(tx, stage, lane, calls)
