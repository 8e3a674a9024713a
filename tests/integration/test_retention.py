"""What has people in it goes when it is too old, in pieces, and never what somebody still needs."""

import pytest
from sqlalchemy import Engine

from producers.dispatch.bookkeeper import Bookkeeper
from producers.doctor.check import Level, Subject
from producers.doctor.work import look_at_kept
from shared.ledger import retention
from shared.settings import Settings
from tests.road import ALWAYS_DOWN, ALWAYS_REFUSED, Road

OLD = "interval '40 days'"


def aged(road: Road) -> None:
    road.sql(f"update instance set accepted_at = accepted_at - {OLD}, finished_at = finished_at - {OLD}")
    road.sql(f"update activity set at = at - {OLD}, calls_json = '[{{}}]', calls_packed = '\\x01'")
    road.sql(f"update operator_action set at = at - {OLD}")


def prune(road: Road, **days: int) -> None:
    of = {"events_days": 30, "calls_days": 30, "audit_days": 30} | days
    while True:
        with road.ledger.begin() as tx:
            if not retention.turn(tx, **of):
                return


@pytest.fixture
def lived(road: Road) -> Road:
    """Return a ledger on which A was sent twice, B refused, C given up, and D waits."""
    road.accept("A")
    road.travel()
    road.accept("A", minute=1)
    road.travel()
    road.accept("B")
    road.travel(ALWAYS_REFUSED)
    road.accept("C")
    road.travel(ALWAYS_DOWN)
    road.accept("D")
    aged(road)
    return road


def test_contents_go_but_those_that_somebody_still_needs(lived: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PIECE", 2)
    prune(lived)
    assert lived.sql("select instance_id from payload order by 1") == [2, 3, 4, 5]
    assert lived.sql("select count(*) from mapping where instance_id = 1") == [0]
    kept = "num_nonnulls(calls_json, calls_packed) > 0"
    assert lived.sql(f"select distinct instance_id from activity where {kept} order by 1") == [3, 4, 5]
    assert lived.sql("select count(*) > 3 from activity where instance_id = 1") == [True]
    prune(lived)
    assert lived.sql("select count(*) from payload") == [4]


def test_nothing_goes_where_nothing_is_set_or_nothing_is_old(lived: Road) -> None:
    before = lived.sql("select count(*) from payload")
    prune(lived, events_days=0, calls_days=0, audit_days=0)
    prune(lived, events_days=50, calls_days=50, audit_days=50)
    assert lived.sql("select count(*) from payload") == before
    assert lived.sql("select count(*) from activity where calls_json is null") == [0]


def test_the_audit_goes_but_that_somebody_was_forgotten(road: Road) -> None:
    for what, denied in (("pause", False), ("forget", False), ("forget", True)):
        road.sql(
            f"""insert into operator_action (at, who, role, what, answer, denied)
                values (now() - {OLD}, 'ada', 'admin', '{what}', 'done', {denied})"""
        )
    prune(road, audit_days=50)
    assert road.sql("select count(*) from operator_action") == [3]
    prune(road)
    assert road.sql("select what, denied from operator_action") == [("forget", False)]


def test_a_dispatcher_prunes_by_its_settings_and_the_doctor_tells_what_is_too_old(
    lived: Road, ledger: Engine, ledger_url: str
) -> None:
    assert ledger.url.database
    of = Settings.model_validate(
        {"ledger_url": ledger_url, "retention": {"events_days": 30}, "dispatcher": {"retention_days": 35}}
    )
    Bookkeeper(of).prune_people()
    assert lived.sql("select count(*) from payload where instance_id = 1") == [0]
    assert lived.sql("select count(*) from activity where calls_json is null") == [0]
    [late] = look_at_kept(Subject(of))
    assert late.level is Level.WARN
    assert late.found.startswith("instances should be gone: instances 40 d of 35, dead letters 40 d, ")
    [well] = look_at_kept(Subject(of.model_copy(update={"dispatcher": Settings(_env_file=None).dispatcher})))
    assert (well.level, well.found[:18]) == (Level.OK, "instances 40 d of ")
