"""A member that the ledger has never seen has no row to lock: it is written whole, once, by whoever comes first."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, Engine, text

from producers.intake.accept import IntakeRules, Outcome, Receipt, accept
from producers.intake.judging import Arrival, Desk
from producers.operations import privacy
from producers.operations.job_control import Operator
from shared.events import parse_event
from shared.ledger import acceptance
from shared.ledger.engine import transaction
from shared.pipeline import Lane
from shared.settings import Settings
from tests.rig import eventually, member_event
from tests.road import Road

RULES = IntakeRules(Lane.LIVE)


def arrival(number: str, *, minute: int = 0, **changes: str) -> Arrival:
    event = parse_event(member_event(number, minute, **changes), max_bytes=64_000)
    return Arrival.of(0, event)


def taken(tx: Connection, *arrivals: Arrival, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Take *arrivals* in as intake does at its first try; do something between looking and writing."""
    numbers = [one.event.member.member_number for one in arrivals]
    there = acceptance.lock_members(tx, numbers, make=False)
    standings = acceptance.standings(tx, numbers)
    meanwhile()
    ids = acceptance.take_ids(tx, len(arrivals))
    desk = Desk({}, standings, RULES, ids.now)
    for one, instance_id in zip(arrivals, ids.ids, strict=True):
        desk.take(one, instance_id)
    acceptance.insert(tx, desk.instances, desk.events, desk.newest, there=there, taken=ids)


def begun(beside: threading.Thread, ledger: Engine) -> None:
    """Have *beside* begin, and wait until it waits for a lock."""
    beside.start()
    waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
    eventually(lambda: bool(Road(ledger).sql(waits)[0]), "somebody waits for a lock")


def test_a_new_member_is_one_version_of_a_row(ledger: Engine) -> None:
    count = text("""
        select pg_stat_get_xact_tuples_inserted(cast('member' as regclass)),
               pg_stat_get_xact_tuples_updated(cast('member' as regclass))
    """)
    with transaction(ledger) as tx:
        before = tx.execute(count).one()
        taken(tx, arrival("N-1"), arrival("N-2"), arrival("N-1", minute=1))
        after = tx.execute(count).one()
    assert [two - one for one, two in zip(before, after, strict=True)] == [2, 0]
    named = "select member_number, newest_id, row_id is null, email_key is null from member order by 1"
    assert Road(ledger).sql(named) == [("N-1", 3, False, False), ("N-2", 2, False, False)]


def test_of_two_intakes_of_a_new_member_the_second_sees_what_the_first_took_in(ledger: Engine) -> None:
    receipts: list[Receipt] = []
    late = [(0, arrival("N-0", minute=2).event), (1, arrival("N-1").event)]
    beside = threading.Thread(target=lambda: receipts.extend(accept(ledger, late, RULES)))
    with transaction(ledger) as tx:
        taken(tx, arrival("N-1", minute=1))
        begun(beside, ledger)
    beside.join()
    assert [one.outcome for one in receipts] == [Outcome.ACCEPTED, Outcome.SUPERSEDED]
    found = Road(ledger).sql("select member_number, state from instance order by member_number, id")
    assert found == [("N-0", "pending"), ("N-1", "pending"), ("N-1", "superseded")]


@pytest.mark.parametrize("kind", ["Company", "Individual"])
def test_whoever_has_an_instance_has_a_row(ledger: Engine, kind: str) -> None:
    accept(ledger, [(0, arrival("N-1", member_type=kind).event)], RULES)
    assert Road(ledger).sql("select count(*) from member join instance using (member_number)") == [1]


def test_nothing_is_left_of_a_new_member_whose_event_is_refused(ledger: Engine) -> None:
    ahead = member_event("N-1") | {"occurred_at": (datetime.now(UTC) + timedelta(days=2)).isoformat()}
    (receipt,) = accept(ledger, [(0, parse_event(ahead, max_bytes=64_000))], RULES)
    assert receipt.outcome is Outcome.REFUSED
    assert Road(ledger).sql("select count(*) from member") == [0]


def test_who_is_forgotten_while_its_first_event_comes_is_forgotten_after_it(ledger: Engine) -> None:
    forgotten: list[privacy.Forgotten | None] = []

    def forget() -> None:
        of = Settings(_env_file=None)
        forgotten.append(privacy.forget(ledger, Operator("ada", "admin"), "N-1", "asked for", of, wait_s=0))

    beside = threading.Thread(target=forget)
    with transaction(ledger) as tx:
        taken(tx, arrival("N-1"), meanwhile=lambda: begun(beside, ledger))
    beside.join()
    assert forgotten[0] is not None
    assert forgotten[0].deleted["instance"] == 1
    assert Road(ledger).sql("select count(*) from member") == [0]
