"""How the connections stand, for those who look: switch, breaker, budget, and who is held."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from shared.ledger import budget
from shared.ledger.budget import Budget
from shared.ledger.records import BudgetState, ConnectionState
from shared.masking import mask_text
from shared.pipeline import Lane, Stage


def connections(tx: Connection, budgets: Mapping[Stage, Budget]) -> list[ConnectionState]:
    """Read every connection, in the order of the pipeline; *budgets* of those that have one."""
    held = {row.due_stage: int(row.total) for row in tx.execute(_HELD)}
    suspects = {row.failed_stage: row for row in tx.execute(_SUSPECTS)}
    rows = tx.execute(_CONNECTIONS).all()
    return [
        replace(
            _state(row, held.get(row.name, 0), _budget(tx, Stage(row.name), budgets.get(Stage(row.name)))),
            suspects=int(suspects[row.name].total) if row.name in suspects else 0,
            suspects_given_up=int(suspects[row.name].given_up) if row.name in suspects else 0,
        )
        for row in rows
    ]


def _state(row: Row[Any], held: int, of_budget: BudgetState | None) -> ConnectionState:
    return ConnectionState(
        name=row.name,
        state="paused" if row.paused else "up" if row.breaker == "closed" else row.breaker,
        since=_since(row),
        breaker=row.breaker,
        failures=row.failures,
        last_error=None if row.last_error is None else mask_text(row.last_error),
        opened_at=row.opened_at,
        probes=row.probes,
        probe_at=row.probe_at,
        next_probe_in_s=_next_probe_in_s(row),
        healed_at=row.healed_at,
        paused_by=row.paused_by,
        paused_reason=row.paused_reason,
        paused_at=row.paused_at,
        held=held,
        budget=of_budget,
        wait_until=row.wait_until,
    )


def _next_probe_in_s(row: Row[Any]) -> float | None:
    """Give the time to the next probe; None: there is none to come, or one is out."""
    return round(row.next_probe_in_s, 1) if row.breaker == "open" and not row.paused else None


def _since(row: Row[Any]) -> datetime | None:
    """Say since when it stands as it does; None: it was up ever since it is known."""
    if row.paused:
        return row.paused_at  # type: ignore[no-any-return]  # a column
    return row.healed_at if row.breaker == "closed" else row.failing_since  # type: ignore[no-any-return]  # columns


def _budget(tx: Connection, stage: Stage, limit: Budget | None) -> BudgetState | None:
    if limit is None:
        return None
    used = budget.used(tx, stage)
    return BudgetState(
        per_minute=limit.per_minute,
        used=sum(used.values()),
        used_live=used.get(Lane.LIVE, 0),
        used_bulk=used.get(Lane.BULK, 0),
        free_live=limit.free(Lane.LIVE, used),
        free_bulk=limit.free(Lane.BULK, used),
    )


_CONNECTIONS = text("""
    select name, paused, paused_by, paused_reason, paused_at, breaker, failures, failing_since, last_error, opened_at,
           probes, probe_at, healed_at, case when wait_until > now() then wait_until end as wait_until,
           greatest(0, extract(epoch from probe_at - now()))::float8 as next_probe_in_s
    from connection order by array_position(array['oic', 'crowdtwist', 'siebel'], name)
""")
_HELD = text("select due_stage, count(*) as total from instance where state = 'held' group by due_stage")
# Those that wait or were given up by an index of theirs, those that are just being tried among the few that run.
_SUSPECTS = text("""
    select failed_stage, count(*) as total, count(*) filter (where state = 'dead') as given_up from (
        select failed_stage, state from instance where suspect and state in ('waiting', 'dead')
        union all
        select failed_stage, state from instance where suspect and state = 'running'
    ) as s group by failed_stage
""")
