"""How often an event's way goes to the ledger and back: what is idle waits for each of these, one after the other."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text

from producers.dispatch.dispatcher import Dispatcher
from shared.ledger import call_limits, connections
from shared.ledger.engine import engine, statements, transaction
from shared.ledger.transitions import attempts, claims
from shared.pipeline import Lane, Stage
from shared.settings import settings
from tests.inside import TASK, worker
from tests.rig import eventually, publishing
from tests.road import Road
from workers.tasks import attempt

ALONE = "a transaction of its own"
WITHIN = "in a transaction of several"
_DOWN = "opened_at = now(), failures = 1, failing_since = now()"
PAUSED = "paused = true, paused_by = 'us', paused_reason = 'to see', paused_at = now()"
NOT_WELL = {
    "paused": PAUSED,
    "down": f"breaker = 'open', {_DOWN}",
    "probed": f"breaker = 'half_open', probe_instance_id = 1, {_DOWN}",
    "some failed": "failures = 1, failing_since = now()",
    "a good member is asked": "verify_at = now()",
    "asked to wait": "wait_until = now() + interval '1 minute'",
}
WELL = {
    "never touched": "healed_at = null",
    "waited long enough": "wait_until = now() - interval '1 s'",
    "healed": "healed_at = now()",
}


@contextmanager
def asked() -> Iterator[list[tuple[str, str]]]:
    """Give what is asked of any ledger within the block: each statement's first words, and how it was committed."""
    statements: list[tuple[str, str]] = []

    def executes(connection: Connection, _: object, statement: str, *__: object) -> None:
        driver: Any = connection.connection.driver_connection
        statements.append((" ".join(statement.split()[:5]), ALONE if driver.autocommit else WITHIN))

    event.listen(Engine, "before_cursor_execute", executes)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", executes)


def on_its_way(ledger: Engine) -> list[int]:
    """Accept one event and claim it."""
    Road(ledger).accept("M-1")
    with ledger.begin() as tx:
        claimed = claims.claim(tx, {(Lane.LIVE, Stage.OIC): 1, (Lane.BULK, Stage.OIC): 1}, token=7, lease_s=60)
    return [one.id for some in claimed.values() for one in some]


def test_a_begin_while_all_is_well_and_the_end_of_oic_are_one_round_trip_each(
    ledger: Engine, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = on_its_way(ledger)
    with worker(ledger_url, monkeypatch, {}):
        with asked() as at_oic:
            attempt(TASK, Stage.OIC, ids)
        with asked() as at_crowdtwist:
            attempt(TASK, Stage.CROWDTWIST, ids)
        with asked() as at_siebel:
            attempt(TASK, Stage.SIEBEL, ids)
    assert [committed for _, committed in at_oic] == [ALONE, ALONE]
    for asked_at in (at_crowdtwist, at_siebel):
        assert [committed for _, committed in asked_at].index(WITHIN) == 1
    assert Road(ledger).states() == {"completed": 1}


@pytest.mark.parametrize("as_it_is", [*NOT_WELL, *WELL])
def test_begun_at_once_is_who_meets_a_connection_that_is_well(ledger: Engine, as_it_is: str) -> None:
    ids = on_its_way(ledger)
    with ledger.begin() as tx:
        tx.execute(text(f"update connection set {(NOT_WELL | WELL)[as_it_is]} where name = 'oic'"))
        tx.execute(text(f"update connection set {PAUSED} where name <> 'oic'"))
    with ledger.begin() as tx:
        gate = connections.gate(tx, Stage.OIC)
        begun = attempts.begin(tx, Stage.OIC, ids, lease_s=60, if_well=True)
    assert [work.instance_id for work in begun.works] == (ids if gate.is_well else [])
    assert gate.is_well == (as_it_is in WELL)


def test_the_connection_that_was_used_last_is_lent_first(ledger_url: str) -> None:
    of = engine(ledger_url)

    def whose(connection: Connection) -> object:
        return connection.execute(text("select pg_backend_pid()")).scalar()

    with of.connect() as one, of.connect() as other:
        assert whose(one) != whose(other)
        last = whose(one)
        other.close()
    for _ in range(3):
        with of.connect() as lent:
            assert whose(lent) == last


def test_a_statement_of_its_own_leaves_a_connection_for_transactions(ledger_url: str) -> None:
    of = engine(ledger_url)
    with statements(of) as alone:
        alone.execute(text("create table kept (once int)"))
        alone.execute(text("insert into kept values (1)"))
    with suppress(ZeroDivisionError), transaction(of) as tx:
        tx.execute(text("insert into kept values (2)"))
        raise ZeroDivisionError
    with statements(of) as alone:
        found = alone.execute(text("select once from kept")).scalars().all()
        alone.execute(text("drop table kept"))
    of.dispose()
    assert found == [1]


def test_whoever_is_due_goes_before_the_limits_are_looked_at(ledger: Engine, ledger_url: str, broker_url: str) -> None:
    with publishing({"MEMBERSYNC_LEDGER_URL": ledger_url, "MEMBERSYNC_BROKER_URL": broker_url}):
        dispatcher = Dispatcher(settings())
        dispatcher.turn()  # knows nothing of limits yet
        Road(ledger).accept("M-1")
        again_at = monotonic() + call_limits.EVERY_S
        eventually(lambda: monotonic() >= again_at, "limits to be looked at")
        with asked() as at_once:
            dispatcher.turn()
    began = [statement for statement, _ in at_once]
    claims_at = next(place for place, one in enumerate(began) if one.startswith("with due as"))
    assert claims_at < next(place for place, one in enumerate(began) if one.startswith("update call_limit"))
