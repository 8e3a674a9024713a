"""Failures heal themselves: breaker, holds, probes, budget, switches, truthful statuses, on the real stack."""

import time
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from shared.ledger import connections
from shared.ledger.engine import transaction, wake
from shared.pipeline import Lane, Stage
from tests.rig import DISPATCHER, Pipeline, eventually, member_event

BREAKER = "select breaker from connection where name = 'crowdtwist'"


@pytest.fixture
def impatient(pipeline: Pipeline) -> Pipeline:
    """A pipeline that times out, probes and reports quickly."""
    pipeline.settings |= {
        "MEMBERSYNC_CROWDTWIST__TIMEOUT_S": "1",
        "MEMBERSYNC_CROWDTWIST__PROBE_FIRST_S": "0.2",
        "MEMBERSYNC_CROWDTWIST__PROBE_CAP_S": "0.5",
        "MEMBERSYNC_SIEBEL__REPORT_AFTER_S": "2",
    }
    return pipeline


def events(count: int, prefix: str = "M") -> list[dict[str, object]]:
    return [member_event(f"{prefix}-{index}") for index in range(count)]


@pytest.mark.parametrize("kind", ["refuse", "hang", "maintenance"])
def test_an_outage_opens_the_breaker_spends_no_attempt_and_heals_by_itself(impatient: Pipeline, kind: str) -> None:
    control = impatient.sandbox.control
    control.fault("crowdtwist", kind)
    with impatient.whole():
        impatient.send(*events(60))
        eventually(lambda: impatient.sql(BREAKER) != ["closed"], "the breaker open")
        eventually(lambda: impatient.states().get("held", 0) >= 59, "everybody held")
        tried = "select attempt from instance where state = 'held'"  # what began before is given back a moment later
        eventually(lambda: set(impatient.sql(tried)) == {0}, "no attempt spent")
        eventually(lambda: any(one["status"] == "CT Failure" for one in control.members()), "the truth in Siebel")
        control.heal("crowdtwist")
        eventually(lambda: impatient.states() == {"completed": 60}, "all completed")
        eventually(lambda: {one["status"] for one in control.members()} == {"Success"}, "Success in Siebel")
    assert len(control.users()) == 60
    assert impatient.sql(BREAKER) == ["closed"]


def test_a_member_that_always_fails_dies_alone_while_all_others_succeed(impatient: Pipeline) -> None:
    impatient.settings |= {"MEMBERSYNC_CROWDTWIST__MAX_ATTEMPTS": "6", "MEMBERSYNC_CROWDTWIST__RETRY_BASE_S": "0.05"}
    impatient.sandbox.control.fault("crowdtwist", "status", member="POISON", status=500)
    with impatient.whole():
        impatient.send(member_event("POISON"))
        eventually(lambda: impatient.states().get("dead") == 1, "the dead letter")
        impatient.send(*events(10))
        eventually(lambda: impatient.states() == {"completed": 10, "dead": 1}, "the others")
        assert impatient.sql("select attempt, code from instance where state = 'dead'") == [(6, "unavailable")]
    assert impatient.sql("select opened_at from connection where name = 'crowdtwist'") == [None]
    lines = impatient.sql("select count(*) from activity where state = 'held'")
    assert lines == [0]


def test_a_pause_holds_loses_nothing_and_reports_nothing_false(impatient: Pipeline) -> None:
    control = impatient.sandbox.control
    with transaction(impatient.ledger) as tx:
        assert connections.pause(tx, Stage.CROWDTWIST, by="ann", reason="maintenance window")
    with impatient.whole():
        impatient.send(*events(20))
        eventually(lambda: impatient.states() == {"held": 20}, "everybody held")
        assert control.state("crowdtwist")["calls_total"] == 0
        assert impatient.sql("select count(*) from errand") == [0]
        with transaction(impatient.ledger) as tx:
            assert connections.resume(tx, Stage.CROWDTWIST, by="oscar")
            wake(tx)
        eventually(lambda: impatient.states() == {"completed": 20}, "all completed")
    assert {one["status"] for one in control.members()} == {"Success"}


def test_siebel_down_does_not_stop_crowdtwist_and_its_backlog_is_one_status_per_member(impatient: Pipeline) -> None:
    control = impatient.sandbox.control
    impatient.settings |= {"MEMBERSYNC_SIEBEL__PROBE_FIRST_S": "0.2", "MEMBERSYNC_SIEBEL__PROBE_CAP_S": "0.5"}
    control.fault("siebel", "refuse")
    with impatient.whole():
        for round_number in range(3):
            impatient.send(
                *(member_event(f"M-{index}", round_number, last_name=f"R{round_number}") for index in range(10))
            )
            eventually(lambda: {one["last_name"] for one in control.users()} == {f"R{round_number}"}, "CrowdTwist")  # noqa: B023
        at_siebel = "select count(*) from instance where stage = 'siebel' and state in ('pending', 'waiting', 'held')"
        eventually(lambda: impatient.sql(at_siebel) == [10], "the newest of each known to have passed CrowdTwist")
        control.heal("siebel")
        eventually(impatient.settled, "all told")
    assert impatient.states() == {"completed": 10, "superseded": 20}
    assert {member["writes"] for member in control.members()} == {1}


@pytest.mark.parametrize("retry_after", [3, "date:+3"])
def test_retry_after_is_never_undercut(impatient: Pipeline, retry_after: object) -> None:
    control = impatient.sandbox.control
    control.fault("crowdtwist", "throttle", retry_after=retry_after, times=1)
    with impatient.whole():
        impatient.send(member_event("M-1"))
        eventually(lambda: impatient.states() == {"completed": 1}, "completed")
    first, second = (call["at"] for call in control.calls("crowdtwist", key="M-1"))
    assert second - first >= 2.0  # a date has whole seconds: one of the three may be gone already


def test_a_create_that_was_applied_and_not_answered_is_found_not_repeated(impatient: Pipeline) -> None:
    control = impatient.sandbox.control
    control.fault("crowdtwist", "drop_after", method="POST", times=1)
    with impatient.whole():
        impatient.send(member_event("M-1"))
        eventually(lambda: impatient.states() == {"completed": 1}, "completed")
    assert control.state("crowdtwist")["posts"] == 1
    assert len(control.users()) == 1


def test_a_write_that_lands_late_is_read_back_and_repaired(impatient: Pipeline) -> None:
    control = impatient.sandbox.control
    impatient.settings |= {"MEMBERSYNC_CROWDTWIST__SETTLE_S": "2"}
    with impatient.whole():
        impatient.send(member_event("M-1", last_name="First"))
        eventually(lambda: impatient.states() == {"completed": 1}, "the first")
        control.fault("crowdtwist", "apply_late", method="PUT", seconds=1.5, times=1)
        impatient.send(member_event("M-1", 1, last_name="Late"))
        eventually(lambda: control.state("crowdtwist")["puts"] >= 1, "the lost write")
        impatient.send(member_event("M-1", 2, last_name="Newest"))
        eventually(impatient.settled, "the newest")
        eventually(lambda: (control.user("M-1") or {})["last_name"] == "Late", "the late landing")
        eventually(lambda: (control.user("M-1") or {})["last_name"] == "Newest", "the repair")
        eventually(lambda: impatient.sql("select count(*) from activity where what like 'read back%'") == [1], "noted")
    told = impatient.sql("select what from activity where what like 'read back%'")
    assert told == ["read back: it was overwritten, so it was sent again"]


def test_the_budget_is_never_exceeded_by_any_number_of_processes(impatient: Pipeline) -> None:
    control = impatient.sandbox.control
    impatient.settings |= {
        "MEMBERSYNC_CROWDTWIST__BUDGET_PER_MINUTE": "100",
        "MEMBERSYNC_CROWDTWIST__LIVE_SHARE": "0.2",
    }
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(impatient.process(*DISPATCHER))
        for name in ("w1", "w2"):
            stack.enter_context(impatient.worker(name))
        impatient.send(*events(150), lane=Lane.BULK)
        eventually(lambda: control.state("crowdtwist")["calls_total"] >= 80, "the bulk lane's share")
        assert control.state("crowdtwist")["calls_total"] == 80
        impatient.send(*events(30, "L"))
        eventually(lambda: control.state("crowdtwist")["calls_total"] >= 100, "the live lane's share")
        until = datetime.now(UTC).timestamp() + 3
        eventually(lambda: datetime.now(UTC).timestamp() > until, "three seconds more")
        assert control.state("crowdtwist")["calls_total"] == 100
        assert impatient.sql("select count(*) from instance where state in ('dead', 'held')") == [0]
        assert impatient.sql(
            "select coalesce(max(attempt), 0) from instance where state in ('pending', 'waiting')"
        ) == [0]


def test_no_two_dispatchers_send_two_probes(impatient: Pipeline) -> None:
    control = impatient.sandbox.control
    control.fault("crowdtwist", "maintenance")
    with impatient.process(*DISPATCHER), impatient.whole():
        impatient.send(*events(30))
        eventually(lambda: impatient.sql(BREAKER) != ["closed"], "the breaker open")
        eventually(lambda: impatient.states().get("held", 0) >= 29, "everybody held")
        before = control.state("crowdtwist")["calls_total"]
        until = time.monotonic() + 2
        eventually(lambda: time.monotonic() > until, "two seconds of probing")
        assert 2 <= control.state("crowdtwist")["calls_total"] - before <= 8
        keys = [call["key"] for call in control.calls("crowdtwist", limit=4)]
        assert len(set(keys)) > 1
        control.heal("crowdtwist")
        eventually(lambda: impatient.states() == {"completed": 30}, "all completed")
