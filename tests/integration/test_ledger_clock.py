"""The ledger's own clock is set, by an hour forward or back, with work in flight."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import DateTime, text

from deploy.sandbox.server import RunningSandbox
from shared.ledger import clock as ledger_clock
from shared.ledger import spending
from shared.ledger.checkup import migrate
from shared.ledger.engine import engine, transaction
from shared.ledger.models import Base
from shared.ledger.transitions import clock_moves
from shared.pipeline import Stage
from tests.conftest import emptied
from tests.rig import DISPATCHER, Pipeline, eventually, flush, member_event
from tests.stepped_clock import SteppedClock, ledger_with_a_clock

HOUR = 3_600
LEASE_S = 60
MEMBERS = 12
FIXED = {
    "MEMBERSYNC_DISPATCHER__LEASE_S": str(LEASE_S),
    "MEMBERSYNC_CROWDTWIST__ADAPTIVE": "false",
    "MEMBERSYNC_CROWDTWIST__BUDGET_PER_MINUTE": "0",
}

pytestmark = pytest.mark.skipif(
    shutil.which(os.environ.get("CC", "cc")) is None, reason="a clock of its own wants a C compiler"
)


@pytest.fixture(scope="module")
def stepped() -> Iterator[tuple[str, SteppedClock]]:
    with ledger_with_a_clock() as (url, clock):
        migrate(url)
        yield url, clock
        engine(url).dispose()


@pytest.fixture
def clock(stepped: tuple[str, SteppedClock]) -> SteppedClock:
    """Return the clock of `on_it`, which is right, as far as anybody has looked."""
    url, clock = stepped
    clock.step(0)
    with transaction(engine(url)) as tx:
        clock_moves.follow(tx, lease_s=LEASE_S)
    return clock


@pytest.fixture
def on_it(
    stepped: tuple[str, SteppedClock], broker_url: str, running_simulators: RunningSandbox, tmp_path: Path
) -> Pipeline:
    flush(broker_url)
    control = running_simulators.control
    control.reset()
    for name in ("crowdtwist", "siebel", "oic"):
        control.heal(name)
        control.set(name, latency_ms=0)
    return Pipeline(emptied(stepped[0]), stepped[0], broker_url, running_simulators, tmp_path, dict(FIXED))


def steps(pipeline: Pipeline) -> int:
    """Count how often the ledger's clock was set, as the dispatcher says."""
    return pipeline.log_text().count("the ledger's clock was set")


def looked(pipeline: Pipeline) -> None:
    """Wait until the dispatcher has looked at the clock anew."""
    at = pipeline.sql("select looked_at from ledger_clock")
    eventually(lambda: pipeline.sql("select looked_at from ledger_clock") != at, "a look at the clock")


@pytest.mark.parametrize("by_s", [HOUR, 120])
def test_a_clock_that_is_set_forward_takes_no_lease_from_who_is_calling(
    on_it: Pipeline, clock: SteppedClock, by_s: int
) -> None:
    control = on_it.sandbox.control
    control.set("crowdtwist", latency_ms=4_000)
    with on_it.whole():
        on_it.send(*(member_event(f"M-{index}") for index in range(MEMBERS)))
        eventually(lambda: control.state("crowdtwist")["in_flight"] > 0, "calls")
        looked(on_it)
        clock.step(by_s)
        eventually(on_it.settled, "all of them")
        looked(on_it)
    assert on_it.states() == {"completed": MEMBERS}
    assert control.state("crowdtwist")["overlapping_keys"] == []
    assert control.state("crowdtwist")["calls_total"] == MEMBERS
    assert on_it.sql("select count(*) from instance where losses > 0") == [0]
    assert steps(on_it) == 1


ELSEWHERE = "update ledger_clock set looked_from = 'another machine'"


@pytest.mark.parametrize("looked_from", ["here", "elsewhere"])
def test_a_clock_that_is_set_forward_while_no_dispatcher_runs_takes_no_lease(
    on_it: Pipeline, clock: SteppedClock, looked_from: str
) -> None:
    control = on_it.sandbox.control
    control.set("crowdtwist", latency_ms=6_000)
    with on_it.worker():
        with on_it.process(*DISPATCHER) as stopped:
            on_it.send(*(member_event(f"M-{index}") for index in range(MEMBERS)))
            eventually(lambda: control.state("crowdtwist")["in_flight"] > 0, "calls")
            looked(on_it)
            stopped.kill_group()
        clock.step(HOUR)
        if looked_from == "elsewhere":
            on_it.sql(ELSEWHERE)
        with on_it.process(*DISPATCHER):
            eventually(on_it.settled, "all of them")
    assert on_it.states() == {"completed": MEMBERS}
    assert control.state("crowdtwist")["overlapping_keys"] == []
    assert control.state("crowdtwist")["calls_total"] == MEMBERS
    assert on_it.sql("select count(*) from instance where losses > 0") == [0]
    assert steps(on_it) == 1
    with transaction(on_it.ledger) as tx:
        step = ledger_clock.newest_step(tx)
    assert step is not None
    assert step.is_doubted == (looked_from == "elsewhere")
    assert step.by_s == pytest.approx(HOUR, abs=5)


def test_a_clock_that_is_set_forward_gives_no_second_budget(on_it: Pipeline, clock: SteppedClock) -> None:
    on_it.settings |= {"MEMBERSYNC_CROWDTWIST__BUDGET_PER_MINUTE": str(MEMBERS)}
    control = on_it.sandbox.control
    with on_it.whole():
        on_it.send(*(member_event(f"M-{index}") for index in range(3 * MEMBERS)))
        eventually(lambda: control.state("crowdtwist")["calls_total"] == MEMBERS, "the minute's calls")
        looked(on_it)
        clock.step(HOUR)
        eventually(lambda: steps(on_it) == 1, "the dispatcher has seen it")
        for _ in range(10):
            looked(on_it)
        with transaction(on_it.ledger) as tx:
            more_in_s = spending.more_in_s(tx, Stage.CROWDTWIST)
        total = control.state("crowdtwist")["calls_total"]
    assert control.state("crowdtwist")["max_calls_per_minute"] <= MEMBERS
    assert total > MEMBERS or 0 < more_in_s <= 61  # the minute is over on a busy machine, or it ends in time


def test_a_clock_that_is_set_back_holds_nobody(on_it: Pipeline, clock: SteppedClock) -> None:
    on_it.settings |= {"MEMBERSYNC_DISPATCHER__LEASE_S": "8"}
    on_it.settings |= {f"MEMBERSYNC_{name}__TIMEOUT_S": "2" for name in ("OIC", "CROWDTWIST", "SIEBEL")}
    control = on_it.sandbox.control
    control.set("crowdtwist", latency_ms=1_000)
    with on_it.process(*DISPATCHER):
        with on_it.worker() as dies:
            on_it.send(*(member_event(f"M-{index}") for index in range(MEMBERS)))
            eventually(lambda: control.state("crowdtwist")["in_flight"] > 0, "calls")
            looked(on_it)
            dies.kill_group()
        on_it.send(*(member_event(f"N-{index}") for index in range(MEMBERS)))
        on_it.sql("update connection set wait_until = now() + interval '5 s' where name = 'siebel'")
        clock.step(-HOUR)
        with on_it.worker("w2"):
            eventually(lambda: on_it.states() == {"completed": 2 * MEMBERS}, "all of them")
    assert steps(on_it) == 1


STAYS = {
    # as an event, or an outside system, has it
    "member": "sequence_from newest_occurred_at newest_occurred_until acknowledged_at told_at",
    # what is only shown, kept for some days, or put in order
    "activity": "at",
    "address_cycle": "started_at parked_at returned_at ended_at",
    "address_cycle_step": "done_at",
    "approval": "asked_at decided_at",
    "call_limit": "changed_at",
    "cause_note": "at",
    "connection": "paused_at",
    "connection_change": "at",
    "data_case": "opened_at refused_at acknowledged_at closed_at",
    "difference": "first_seen_at seen_at acknowledged_at repaired_at",
    "ended_login": "ended_at",
    "forecast": "at scored_at",
    "guard_hold": "opened_at decided_at ended_at",
    "incident": (
        "opened_at resolved_at closed_at settled_at acknowledged_at from_at late_from late_to told_at reminded_at"
    ),
    "incident_event": "at written_at",
    "incident_span": "from_at to_at",
    "instance": "occurred_at accepted_at failing_since finished_at",
    "job": "created_at started_at ended_at",
    "lane_depth": "at",
    "ledger_clock": "looked_at stepped_at pending_until doubted_at counted_from counted_until",
    "mail": "created_at sent_at dead_at",
    "mark": "at",
    "operator_action": "at",
    "programme_size": "counted_at",
    "readiness": "at",
    "reconciliation": "created_at started_at ended_at",
    "refusal": "at",
    "sighting": "looked_at",
    "stray_message": "at",
    # by the time of day
    **dict.fromkeys(("cause_count", "flood_count", "hour", "latency", "minute", "silence", "wait"), "at"),
    "maintenance": "from_at until_at added_at began_at ended_at removed_at",
}


def left_s(pipeline: Pipeline) -> dict[str, float]:
    """Return in how many seconds each thing is."""
    return dict(pipeline.sql(LEFT))


OUT = ("M-1 leased", "M-1 errand leased", "M-1 errand due")
AHEAD = """
    update instance set state = 'waiting', due_at = now() + interval '50 s' where member_number = 'M-0';
    update instance set state = 'running', token = 7, lease_until = now() + interval '30 s' where member_number = 'M-1';
    insert into errand (instance_id, member_number, kind, stage, lane, due_at, token, lease_until)
    select id, member_number, 'report', 'siebel', lane, now() + interval '40 s', token,
           case when token > 0 then now() + interval '30 s' end
    from instance where member_number in ('M-0', 'M-1');
    update member set read_back_at = now() + interval '45 s' where member_number = 'M-2';
    update connection set wait_until = now() + interval '40 min', probe_at = now() + interval '20 s',
                          healed_at = now() - interval '5 s' where name = 'oic';
    insert into heartbeat (kind, name, lanes, pid, started_at, beat_at)
    values ('worker', 'dead', array['live'], 1, now() - interval '9 min', now() - interval '5 min');
    insert into spend (name, slot, lane, calls)
    select 'oic', floor(extract(epoch from now()) * 4) - 4 * s, 'live', 1 from generate_series(0, 59) as s;
"""
LEFT = """
    select what, extract(epoch from at - clock_timestamp())::float8 from (
        select member_number || ' due', due_at from instance where state = 'waiting'
        union all select member_number || ' leased', lease_until from instance where state = 'running'
        union all select member_number || ' errand due', due_at from errand
        union all select member_number || ' errand leased', lease_until from errand where token > 0
        union all select 'read back', read_back_at from member where read_back_at is not null
        union all select 'heard', beat_at from heartbeat
        union all select 'wait', wait_until from connection where name = 'oic'
        union all select 'probe', probe_at from connection where name = 'oic'
        union all select 'healed', healed_at from connection where name = 'oic'
    ) as t (what, at)
"""


@pytest.mark.parametrize("by_s", [-HOUR, -90, -20, 60, HOUR])
def test_whatever_lies_ahead_is_as_far_off_after_a_step_as_before(
    on_it: Pipeline, clock: SteppedClock, by_s: int
) -> None:
    on_it.send(*(member_event(f"M-{index}") for index in range(3)))
    on_it.sql(AHEAD)
    with transaction(on_it.ledger) as tx:
        assert ledger_clock.look(tx).step_s == 0
    was, began = left_s(on_it), time.monotonic()
    clock.step(by_s)
    with transaction(on_it.ledger) as tx:
        assert ledger_clock.look(tx).step_s == pytest.approx(by_s, abs=1)
        assert clock_moves.follow(tx, lease_s=LEASE_S) == pytest.approx(by_s, abs=1)
        assert clock_moves.follow(tx, lease_s=LEASE_S) == 0
        used = sum(spending.used(tx, Stage.OIC).values())
        more_in_s = spending.more_in_s(tx, Stage.OIC)
    now, took_s = left_s(on_it), time.monotonic() - began
    may_be_late_s = max(0, -by_s) if by_s > -LEASE_S else 0
    late_s = {what: may_be_late_s if what in OUT else 0 for what in was}
    assert now.keys() == was.keys()
    assert {
        what: was[what] - now[what] for what in was if not -late_s[what] - 1 < was[what] - now[what] < took_s + 1
    } == {}
    assert 60 - took_s - 1 <= used <= 60
    assert 0 < more_in_s <= 61


@pytest.mark.parametrize("was_set_s", [0, 20, HOUR], ids=["not set", "by less than a lease", "by an hour"])
def test_a_doubt_ends_no_lease_that_is_in_force_and_makes_none_longer_than_a_whole_one(
    on_it: Pipeline, clock: SteppedClock, was_set_s: int
) -> None:
    on_it.send(*(member_event(f"M-{index}") for index in range(3)))
    on_it.sql(AHEAD)
    was, began = left_s(on_it), time.monotonic()
    clock.step(was_set_s)
    with transaction(on_it.ledger) as tx:
        clock_moves.bear(tx, was_set_s or HOUR, lease_s=LEASE_S)
        used = sum(spending.used(tx, Stage.OIC).values())
        more_in_s = spending.more_in_s(tx, Stage.OIC)
    now, took_s = left_s(on_it), time.monotonic() - began
    for what in (*OUT, "read back"):
        assert was[what] - took_s - 1 < now[what] < LEASE_S + 2, what
    for what in ("M-1 leased", "M-1 errand leased", "read back"):
        assert not was_set_s or now[what] < was[what] + 1, what
    assert now["M-1 errand due"] > now["M-1 errand leased"]
    for what in ("M-0 due", "M-0 errand due", "probe"):
        assert now[what] < was[what] + 1, what
    assert 60 - took_s - 1 <= used <= 60
    assert 0 < more_in_s <= 61


@pytest.mark.parametrize(("by_s", "late_s"), [(20, 20), (120, 0), (HOUR, 0), (-20, 0), (-120, 0), (-HOUR, 0)], ids=str)
def test_what_was_leased_by_the_new_clock_already_is_late_by_a_lease_at_most_and_never_shorter(
    on_it: Pipeline, clock: SteppedClock, by_s: int, late_s: int
) -> None:
    on_it.send(*(member_event(f"M-{index}") for index in range(3)))
    with transaction(on_it.ledger) as tx:
        assert ledger_clock.look(tx).step_s == 0
    clock.step(by_s)
    on_it.sql(AHEAD)
    was, began = left_s(on_it), time.monotonic()
    with transaction(on_it.ledger) as tx:
        assert clock_moves.follow(tx, lease_s=LEASE_S) == pytest.approx(by_s, abs=1)
    now, took_s = left_s(on_it), time.monotonic() - began
    for what in (*OUT, "read back"):
        assert was[what] + late_s - took_s - 1 < now[what] < was[what] + late_s + 1, what
    for what in ("M-0 due", "M-0 errand due", "probe"):
        assert now[what] < was[what] + 1, what


@pytest.mark.parametrize("by_s", [-HOUR, HOUR])
def test_a_transaction_that_began_before_a_step_takes_no_lease_and_holds_nobody(
    on_it: Pipeline, clock: SteppedClock, by_s: int
) -> None:
    on_it.send(*(member_event(f"M-{index}") for index in range(3)))
    with transaction(on_it.ledger) as tx:
        assert ledger_clock.look(tx).step_s == 0
    with on_it.ledger.begin() as began_before:
        began_before.execute(text("select now()"))
        began = time.monotonic()
        clock.step(by_s)
        with transaction(on_it.ledger) as tx:
            assert clock_moves.follow(tx, lease_s=LEASE_S)
            assert ledger_clock.look(tx).is_fresh
        began_before.execute(text(AHEAD))
    with transaction(on_it.ledger) as tx:
        clock_moves.follow_up(tx, lease_s=LEASE_S)
        clock_moves.follow_up(tx, lease_s=LEASE_S)
    left, took_s = left_s(on_it), time.monotonic() - began
    for what, expected_s in {"M-1 leased": 30, "M-1 errand leased": 30, "read back": 45}.items():
        assert expected_s - took_s - 1 < left[what] < expected_s + 1, what
    for what in ("M-0 due", "M-0 errand due", "probe"):
        assert left[what] < 51, what


def test_what_is_pending_from_before_a_step_back_comes_in_its_order_before_what_is_new(
    on_it: Pipeline, clock: SteppedClock
) -> None:
    for index in range(3):
        on_it.send(member_event(f"M-{index}"))
    clock.step(-HOUR)
    with transaction(on_it.ledger) as tx:
        clock_moves.follow(tx, lease_s=LEASE_S)
    with transaction(on_it.ledger) as tx:
        assert ledger_clock.look(tx).has_late is True
        assert [clock_moves.bring_forward(tx, limit=2) for _ in range(3)] == [2, 1, 0]
    on_it.send(member_event("N-0"))
    due = on_it.sql("select member_number from instance where due_at <= now() order by due_at, id")
    assert due == ["M-0", "M-1", "M-2", "N-0"]


def test_each_instant_of_the_ledger_moves_with_its_clock_or_is_said_to_stay() -> None:
    instants = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, DateTime)
    }
    moved = {f"{one.table}.{column}" for one in clock_moves.MOVED for column in one.columns.split()}
    assert moved <= instants
    assert instants - moved == {f"{table}.{name}" for table, names in STAYS.items() for name in names.split()}
