"""A run survives what happens meanwhile: it is killed, its systems go away, members change, one cannot be read."""

import threading
from functools import partial
from typing import Any

import pytest

from producers.operations import connection_control
from producers.operations.job_control import AskError
from producers.operations.reconcile.runs import Ask, start, stop
from shared.ledger import spending
from shared.ledger.engine import transaction
from shared.ledger.spending import Budget
from shared.pipeline import Lane, Stage
from tests.forked import Forked
from tests.integration.test_reconcile import expected, plant
from tests.reconciling import OSCAR, Programme, named
from tests.rig import Pipeline, eventually, member_event

CARRIER = ("-m", "producers.operations.reconcile.process")


@pytest.fixture
def programme(pipeline: Pipeline) -> Programme:
    """Return a programme whose runs only the test carries on; the pipeline is not running."""
    pipeline.sandbox.control.set("siebel", auto_members=False)
    pipeline.settings |= {"MEMBERSYNC_CROWDTWIST__BUDGET_PER_MINUTE": "60000"}
    return Programme(pipeline, {})


def steps(programme: Programme) -> list[Any]:
    return programme.pipeline.sql("""
        select phase, cursor, compared, state, (select count(*) from difference), (select count(*) from sighting)
        from reconciliation
    """)


def has_moved(programme: Programme, before: list[Any]) -> bool:
    return steps(programme) != before


def test_a_run_that_is_killed_anywhere_goes_on_where_it_was(programme: Programme) -> None:
    pipeline = programme.pipeline
    with pipeline.whole():
        members = plant(programme)
        programme.sync(*named("filler", 250))
    started = start(pipeline.ledger, OSCAR, Ask(full=True), programme.of)
    kills = 0
    while steps(programme)[0][3] != "done":
        pipeline.sql("update reconciliation set lease_until = now() where lease_until is not null")
        before = steps(programme)
        carrier = Forked(CARRIER, pipeline.environment, pipeline.logs / f"carrier-{kills}.log")
        try:
            eventually(partial(has_moved, programme, before), "a step")
        finally:
            carrier.kill_group()
        kills += 1
        assert kills < 60
    run = programme.carried(started.id)
    assert kills > 5
    assert programme.classes(run) == expected(members)
    assert (run.compared, run.covered, run.moving, run.unread) == (277, 1.0, 0, 0)
    assert run.members == {"siebel": 274, "ledger": 274, "crowdtwist": 271}
    assert pipeline.sql("select count(*), count(distinct (member_number, class)) from difference") == [(24, 24)]


@pytest.fixture
def synced(programme: Programme) -> Programme:
    with programme.pipeline.whole():
        programme.sync(*named("fine", 6))
    return programme


def test_who_lost_the_lease_writes_nothing(synced: Programme) -> None:
    pipeline = synced.pipeline
    begun = start(pipeline.ledger, OSCAR, Ask(full=True), synced.of)
    pipeline.sql("update reconciliation set token = 5, state = 'running', lease_until = now() + interval '1 hour'")
    carrier = Forked(CARRIER, pipeline.environment, pipeline.logs / "carrier.log")
    assert carrier.wait(60) == 0
    assert steps(synced) == [("siebel", "", 0, "running", 0, 0)]
    assert stop(pipeline.ledger, OSCAR, int(begun.id))
    stopped = synced.carried(begun.id)
    assert (stopped.state, stopped.why) == ("stopped", "stopped by oscar")
    assert (stopped.differences, stopped.drift["estimate"]) == ({}, None)
    assert not stop(pipeline.ledger, OSCAR, int(begun.id))


def test_who_was_seen_to_differ_but_once_is_not_called_equal_when_a_run_is_stopped(synced: Programme) -> None:
    pipeline = synced.pipeline
    synced.in_crowdtwist("PUT", "fine-003", last_name="Cole")
    patient = Programme(pipeline, {"reconcile": {"settle_s": 3600}})
    begun = start(pipeline.ledger, OSCAR, Ask(full=True), patient.of)
    with pipeline.process(*CARRIER):
        eventually(lambda: pipeline.sql("select phase from reconciliation") == ["second"], "one look at all")
        assert stop(pipeline.ledger, OSCAR, int(begun.id))
    stopped = synced.carried(begun.id)
    assert (stopped.state, stopped.differences, stopped.moving, stopped.compared) == ("stopped", {}, 1, 5)
    assert stopped.meaning == "all of 5 members were looked at: 0 differ"


def test_a_connection_that_is_paused_is_waited_for(synced: Programme) -> None:
    pipeline = synced.pipeline
    connection_control.pause(pipeline.ledger, OSCAR, Stage.CROWDTWIST, "maintenance", synced.of)
    begun = start(pipeline.ledger, OSCAR, Ask(full=True), synced.of)
    carrier = Forked(CARRIER, pipeline.environment, pipeline.logs / "carrier.log")
    try:
        waiting = "select waiting from reconciliation"
        eventually(lambda: pipeline.sql(waiting) == ["the connection CrowdTwist is paused"], "waiting")
        connection_control.resume(pipeline.ledger, OSCAR, Stage.CROWDTWIST, "over", synced.of)
        assert carrier.wait(60) == 0
    finally:
        carrier.kill_group()
    assert synced.carried(begun.id).state == "done"


def test_live_events_that_are_late_go_first(synced: Programme) -> None:
    pipeline = synced.pipeline
    pipeline.send(member_event("late-001"))
    pipeline.sql("update instance set due_at = now() - interval '1 min' where state = 'pending'")
    begun = start(pipeline.ledger, OSCAR, Ask(full=True), synced.of)
    carrier = Forked(CARRIER, pipeline.environment, pipeline.logs / "carrier.log")
    try:
        waiting = "select waiting from reconciliation"
        eventually(lambda: pipeline.sql(waiting) == ["live events, which are late, to go first"], "waiting")
        pipeline.sql("update instance set due_at = now() + interval '1 hour' where state = 'pending'")
        assert carrier.wait(60) == 0
    finally:
        carrier.kill_group()
    assert synced.carried(begun.id).state == "done"


def test_a_run_that_fails_keeps_what_it_found_and_calls_nothing_equal(synced: Programme) -> None:
    pipeline = synced.pipeline
    lie = {"member_number": "fine-001", "row_id": "1-fine-001", "CT Sync Status": "Data Error"}
    pipeline.sandbox.control.seed(lie)
    pipeline.sandbox.control.fault("crowdtwist", "status", status=500, body="away")
    run = synced.run(Ask(full=True), patience_s=0.5)
    assert run.state == "failed"
    assert run.why is not None
    assert "CrowdTwist could not be read" in run.why
    assert run.differences == {}  # it was seen once
    assert run.moving == 1
    assert (run.covered, run.drift["estimate"]) == (0.0, None)
    pipeline.sandbox.control.heal("crowdtwist")
    assert synced.classes(synced.run()) == {"status_lies": ["fine-001"]}


def test_one_member_that_cannot_be_read_holds_up_nobody(synced: Programme) -> None:
    synced.pipeline.sandbox.control.fault("crowdtwist", "status", status=500, body="away", member=["fine-002"])
    synced.in_crowdtwist("DELETE", "fine-003")
    run = synced.run()
    assert (run.state, run.unread, run.compared) == ("done", 1, 5)
    assert synced.classes(run) == {"gone_at_destination": ["fine-003"]}


def test_members_that_change_meanwhile_are_no_difference(programme: Programme) -> None:
    live, still = named("live", 20), named("still", 20)
    over = threading.Event()

    def change() -> None:
        minute = 1
        while not over.is_set():
            for number in live[:10]:  # Siebel first, then its event: between the two it differs
                programme.seed(number, first_name=f"Ann{minute * 'a'}")
            programme.pipeline.send(*(event(number, minute) for number in live[:10]))
            minute = minute % 20 + 1
            over.wait(0.02)

    with programme.pipeline.whole():
        programme.sync(*live, *still)
        programme.in_crowdtwist("PUT", "still-000", last_name="Cole")
        changing = threading.Thread(target=change)
        changing.start()
        try:
            runs = [programme.run() for _ in range(2)]
        finally:
            over.set()
            changing.join()
    for run in runs:
        assert run.state == "done"
        assert programme.classes(run) == {"changed_at_destination": ["still-000"]}


def event(number: str, minute: int) -> dict[str, Any]:
    return member_event(number, minute, first_name=f"Ann{minute * 'a'}")


@pytest.mark.parametrize(("share", "granted"), [(0.05, 500), (1.0, 8_000), (0.00001, 1)])
def test_a_share_is_never_exceeded_and_leaves_the_live_lane_its_own(
    pipeline: Pipeline, share: float, granted: int
) -> None:
    budget = Budget(Stage.CROWDTWIST, 10_000, 0.2)
    paid = 0
    for _ in range(40):
        with transaction(pipeline.ledger) as tx:
            paid += spending.pay_share(tx, budget, share, 300).calls
    assert paid == granted
    with transaction(pipeline.ledger) as tx:
        assert spending.used(tx, Stage.CROWDTWIST) == {Lane.BULK: granted}
        assert spending.pay(tx, budget, Lane.LIVE, 20_000).calls == 10_000 - granted


def test_calls_go_out_evenly_within_the_share(programme: Programme) -> None:
    with programme.pipeline.whole():
        programme.sync(*named("fine", 12))
    programme.settings = {"crowdtwist": {"budget_per_minute": 2_400}}  # a tenth of it: 4 in a second
    control = programme.pipeline.sandbox.control
    before = len(control.calls("crowdtwist", limit=1_000))
    run = programme.run(Ask(full=True, share=0.1))
    calls = control.calls("crowdtwist", limit=1_000)[before:]
    assert run.calls["crowdtwist"] == len(calls) == 12
    assert {one["method"] for one in calls} == {"GET"}
    paid = programme.pipeline.sql("select max(calls), sum(calls) from spend where name = 'crowdtwist/share'")
    assert paid == [(2, 12)]


def test_what_was_paid_for_long_before_its_calls_go_out_is_counted_once_more(programme: Programme) -> None:
    with programme.pipeline.whole():
        programme.sync(*named("fine", 12))
    programme.settings = {"crowdtwist": {"budget_per_minute": 2_400}}  # a tenth of it: two at once
    # All but one of the share is spent, and comes free in two seconds: of the first two calls one is paid for early.
    programme.pipeline.sql("""
        insert into spend (name, slot, lane, calls)
        select 'crowdtwist/share', floor(extract(epoch from clock_timestamp()) * 4) - 243 + 8, 'bulk', 239
    """)
    before = programme.pipeline.sql("select coalesce(sum(calls), 0) from spend where name = 'crowdtwist'")[0]
    run = programme.run(Ask(full=True, share=0.1))
    paid = programme.pipeline.sql("select sum(calls) from spend where name = 'crowdtwist'")[0] - before
    assert run.calls["crowdtwist"] == 12
    assert paid >= 13


def test_without_siebel_nothing_is_compared_and_it_is_said(programme: Programme) -> None:
    programme.settings = {"siebel": {"base_url": None}}
    with pytest.raises(AskError, match="MEMBERSYNC_SIEBEL__BASE_URL is not set"):
        programme.run()
