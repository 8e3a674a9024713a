"""The rows that a benchmark's large ledger is made of: copies that differ in nothing but their numbers and names."""

from tests.bench.many import multiply
from tests.bench.waits import sampled_waits
from tests.rig import eventually
from tests.road import Road


def test_many_instances_are_as_whole_as_those_they_were_made_from(road: Road) -> None:
    road.accept(*(f"M-{number}" for number in range(7)))
    road.travel()
    before = _rows(road)
    assert multiply(road.ledger, 50) == 56
    assert _rows(road) == {table: rows * 8 for table, rows in before.items()}
    assert road.states() == {"completed": 56}
    assert _orphans(road) == [0]


def test_events_go_on_after_the_copies(road: Road) -> None:
    road.accept("M-1")
    road.travel()
    multiply(road.ledger, 20)
    road.accept("M-1-3", minute=1)
    road.travel()
    assert road.states() == {"completed": 21}


def test_what_a_session_waits_for_or_computes_is_named(road: Road) -> None:
    with sampled_waits(road.ledger) as waits:
        eventually(lambda: _looked_at_while_sleeping(road) and "PgSleep" in waits.top(), "a sample of a session")


def _looked_at_while_sleeping(road: Road) -> bool:
    return road.sql("select pg_sleep(1.1) is null") == [False]


def _rows(road: Road) -> dict[str, int]:
    tables = ("member", "instance", "payload", "mapping", "activity")
    return {table: road.sql(f"select count(*) from {table}")[0] for table in tables}


def _orphans(road: Road) -> list[int]:
    """Count the members whose newest, applied or told instance is not theirs."""
    return road.sql("""
        select count(*) from member m
        where not exists (select from instance i where i.member_number = m.member_number and i.id = m.newest_id)
           or not exists (select from instance i where i.member_number = m.member_number and i.id = m.applied_id)
           or not exists (select from instance i where i.member_number = m.member_number and i.id = m.told_id)
    """)
