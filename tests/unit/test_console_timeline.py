"""The story of an instance as its page tells it: stations, shares of time, and a long activity in short."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from producers.console.instances import lines, shares, stations
from shared.ledger.records import ActivityLine, InstanceRecord
from shared.pipeline import State

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def record(state: State, stage: str, failed_stage: str | None = None) -> InstanceRecord:
    return InstanceRecord(
        instance_id="1",
        event_id="E-1",
        member_number="M-1",
        operation="update",
        lane="live",
        state=state,
        stage=stage,
        attempt=1,
        status=None,
        error="",
        code=None,
        failed_stage=failed_stage,
        reason=None,
        modification=None,
        occurred_at=NOW,
        accepted_at=NOW,
        due_at=None,
        failing_since=None,
        finished_at=None if state in {"pending", "running", "waiting", "held"} else NOW + timedelta(minutes=1),
        resubmits=0,
    )


def line(after_s: float, stage: str | None, state: str, took_s: float | None = None) -> ActivityLine:
    took_ms = None if took_s is None else took_s * 1000
    return ActivityLine(NOW + timedelta(seconds=after_s), stage, 1, state, "what", None, took_ms, None, [])


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (record(State.PENDING, "oic"), ["pending", "not yet", "not yet"]),
        (record(State.HELD, "crowdtwist"), ["done", "held", "not yet"]),
        (record(State.RUNNING, "siebel"), ["done", "done", "running"]),
        (record(State.COMPLETED, "siebel"), ["done", "done", "was told"]),
        (record(State.REJECTED, "siebel", "oic"), ["Data Error", "not called", "was told"]),
        (record(State.REJECTED, "siebel", "crowdtwist"), ["done", "Data Error", "was told"]),
        (record(State.DEAD, "crowdtwist", "crowdtwist"), ["done", "given up", "not reached"]),
        (record(State.DEAD, "siebel", "siebel"), ["done", "done", "given up"]),
        (record(State.UNCHANGED, "oic"), ["not reached", "not reached", "not reached"]),
        (record(State.SUPERSEDED, "crowdtwist"), ["done", "not reached", "not reached"]),
    ],
)
def test_stations_say_how_far_it_is(one: InstanceRecord, told: list[str]) -> None:
    assert [station.what for station in stations(one, [])] == ["sent this update", *told]


@pytest.mark.parametrize(
    ("state", "activity", "told"),
    [
        (State.DEAD, [line(9, "siebel", "dead", took_s=1)], "was told CT Failure"),
        (State.HELD, [line(9, "siebel", "held", took_s=1)], "was told CT Failure"),
        (State.DEAD, [line(9, "siebel", "dead")], "not reached"),  # the report is held itself
        (State.DEAD, [replace(line(9, "siebel", "dead", took_s=1), code="unavailable")], "not reached"),
        (State.DEAD, [], "not reached"),
    ],
)
def test_siebel_may_know_of_a_failure_before_it(state: State, activity: list[ActivityLine], told: str) -> None:
    failed = replace(record(state, "crowdtwist", "crowdtwist"), status="CT Failure")
    assert stations(failed, activity)[-1].what == told


def test_after_a_requeue_siebel_is_ahead_again() -> None:
    activity = [line(9, "siebel", "dead", took_s=1), line(60, None, "pending")]
    assert stations(record(State.PENDING, "crowdtwist"), activity)[-1].what == "not yet"


def test_the_time_is_shared_between_work_and_what_lies_between() -> None:
    activity = [
        line(0, None, "pending"),
        line(2, "oic", "running", took_s=1),  # 1 s queued, 1 s OIC
        line(4, "crowdtwist", "waiting", took_s=2),  # 2 s CrowdTwist
        line(10, "crowdtwist", "running", took_s=1),  # 5 s waiting, 1 s CrowdTwist
        line(10, "siebel", "completed", took_s=0.5),  # no time at all
        line(70, "crowdtwist", "completed", took_s=1),  # the read-back, after its end
    ]
    found = {one.name: one.took_ms for one in shares(record(State.COMPLETED, "siebel"), activity, NOW)}
    assert found == {"queued": 1000, "OIC": 1000, "CrowdTwist": 3000, "waiting to be tried again": 5000}
    parts = shares(record(State.COMPLETED, "siebel"), activity, NOW)
    assert sum(one.part for one in parts) == 100
    assert [one.begin for one in parts] == [0, 10, 20, 50]


def test_a_dead_letter_waits_for_a_person_until_it_is_requeued() -> None:
    activity = [line(0, None, "pending"), line(1, "oic", "dead", took_s=1), line(61, "oic", "pending")]
    found = {
        one.name: one.took_ms for one in shares(record(State.PENDING, "oic"), activity, NOW + timedelta(seconds=64))
    }
    assert found == {"OIC": 1000, "waiting for a person": 60_000, "queued": 3000}


def test_no_activity_has_no_shares() -> None:
    assert shares(record(State.COMPLETED, "siebel"), [], NOW) == []


def test_of_a_long_activity_the_beginning_and_the_end_are_shown() -> None:
    activity = [line(second, "oic", "held") for second in range(1_000)]
    shown = lines(activity)
    assert (shown.first, shown.left_out, shown.last) == (activity[:20], 800, activity[-180:])
    assert lines(activity[:200]).left_out == 0
