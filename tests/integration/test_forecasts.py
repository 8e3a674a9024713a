"""Forecasts from the ledger: none before anything was seen; then of plans, jobs and lanes; kept, and compared."""

import os
from collections.abc import Sequence

import pytest
from sqlalchemy import Engine

from producers.dispatch.bookkeeper import Bookkeeper
from producers.operations import job_control
from producers.operations.foretelling import lane_said, said
from producers.operations.job_control import Ask, Operator, Selection
from producers.operations.verdict import standing
from shared.ledger import heartbeats
from shared.ledger.engine import transaction
from shared.ledger.filters import Filter
from shared.ledger.heartbeats import Who
from shared.ledger.jobs import Job, Kind, Plan
from shared.ledger.transitions import requeues
from shared.ledger.transitions.job_turns import Caps
from shared.lifecycle.forecasts import Forecast, LaneForecast, Trend
from shared.pipeline import Lane, State
from shared.settings import Settings
from tests.road import Road

OSCAR = Operator("oscar", "operator")


@pytest.fixture
def settings(ledger_url: str) -> Settings:
    return Settings(ledger_url=ledger_url)


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


def count(settings: Settings) -> None:
    bookkeeper = Bookkeeper(settings)
    while bookkeeper.turn():
        pass
    bookkeeper.turn_forecasts()


def at_work(road: Road) -> None:
    with transaction(road.ledger) as tx:
        heartbeats.beat(tx, Who(heartbeats.Kind.WORKER, f"w@{os.getpid()}", tuple(Lane)))


def members(prefix: str, many: int) -> list[str]:
    return [f"{prefix}-{number}" for number in range(many)]


def ask(rate: int | None = None) -> Ask:
    return Ask(Kind.REQUEUE, Selection(where=Filter(states=(State.DEAD,))), "well again", rate=rate)


def plan(road: Road, settings: Settings, rate: int | None = None) -> Plan:
    return job_control.plan(road.ledger, ask(rate), settings)


def forecast(plan_or_job: Plan | Job) -> Forecast:
    assert plan_or_job.forecast is not None
    return plan_or_job.forecast


def seen(road: Road, settings: Settings) -> None:
    """Let CrowdTwist take 30 members, and 12 be dead letters; a worker is at work."""
    count(settings)
    road.accept(*members("S", 30))
    road.travel()
    road.dead(*members("D", 12))
    count(settings)
    at_work(road)


def test_a_plan_says_when_it_would_end_once_enough_was_seen_and_why_not_before(road: Road, settings: Settings) -> None:
    count(settings)
    road.dead(*members("D", 12))
    at_work(road)
    assert said(forecast(plan(road, settings))).startswith("no forecast: only ")

    seen(road, settings)
    found = forecast(plan(road, settings, rate=6))

    assert found.binding == "its own rate"
    assert found.expected_s == pytest.approx(found.left / 6 * 60)
    assert "its own rate sets the pace" in said(found)


def test_a_connection_that_is_down_and_workers_that_are_away_leave_no_figure(road: Road, settings: Settings) -> None:
    seen(road, settings)
    road.sql("update connection set paused = true, paused_by = 'ann', paused_reason = 'x' where name = 'crowdtwist'")
    assert said(forecast(plan(road, settings))) == "no forecast: CrowdTwist is paused by ann"
    road.sql("update connection set paused = false, paused_by = null, paused_reason = null")
    road.sql("delete from heartbeat")
    assert said(forecast(plan(road, settings))) == "no forecast: no worker serves the bulk lane"


def test_a_discard_calls_nobody_and_has_no_forecast(road: Road, settings: Settings) -> None:
    seen(road, settings)
    chosen = Ask(Kind.DISCARD, Selection(where=Filter(states=(State.DEAD,))), "gone")

    assert job_control.plan(road.ledger, chosen, settings).forecast is None


def test_what_is_foreseen_of_a_job_is_kept_once_a_minute_and_compared_with_its_end(
    road: Road, settings: Settings
) -> None:
    seen(road, settings)
    _, job = job_control.start(road.ledger, OSCAR, ask(), settings)
    assert job is not None
    turn(road)
    road.sql("delete from lane_depth")
    for _ in range(2):
        count(settings)
    assert road.sql("select count(*) from forecast where took_s is null") == [1]
    foreseen = forecast(job_control.foreseen(road.ledger, job, settings))
    assert (foreseen.left, foreseen.departed) == (12, None)
    road.sql("""
        update forecast set foreseen = foreseen || '{"lower_s": -90, "expected_s": 1, "upper_s": -80}'
    """)
    assert "; later than foreseen at first: it does " in said(
        forecast(job_control.foreseen(road.ledger, job, settings))
    )

    for _ in range(20):
        turn(road)
        road.travel()
    road.sql("delete from lane_depth")
    count(settings)

    assert road.sql("select state from job") == ["done"]
    (took_s,) = road.sql("select took_s from forecast")
    assert took_s >= 0
    over = job_control.progress(road.ledger, Kind.REQUEUE, int(job.job_id))
    assert over is not None
    assert job_control.foreseen(road.ledger, over, settings).forecast is None


def turn(road: Road) -> None:
    road.sql("update job set next_at = now()")
    with transaction(road.ledger) as tx:
        requeues.advance(tx, resubmits_max=9, caps=Caps(0, 0))


def lanes(road: Road, settings: Settings) -> dict[str, LaneForecast]:
    with transaction(road.ledger) as tx:
        return {one.lane: one for one in standing(tx, settings).lanes}


def depths(road: Road, lane: Lane, seen_before: Sequence[int]) -> None:
    """Note how deep a lane was, 20 s apart, the last just now."""
    for ago, depth in enumerate(reversed(seen_before)):
        values = f"('{lane}', now() - make_interval(secs => {20 * ago}), {depth})"
        road.sql(f"insert into lane_depth (lane, at, depth) values {values}")


def test_a_lane_says_whether_it_clears_grows_or_stands_still(road: Road, settings: Settings) -> None:
    at_work(road)
    depths(road, Lane.BULK, [1200, 1100, 1000, 900, 800, 700])
    depths(road, Lane.LIVE, [1000, 1240, 1480, 1720])
    found = lanes(road, settings)

    assert found[Lane.BULK].clears_s == pytest.approx(140, rel=0.05)
    assert lane_said(found[Lane.BULK]) == "clears in about 3 min"
    assert lane_said(found[Lane.LIVE]) == "grows by 12/s: will not clear"

    road.sql("delete from lane_depth")
    road.sql("delete from heartbeat")
    depths(road, Lane.BULK, [700, 700, 700, 700])
    assert lane_said(lanes(road, settings)[Lane.BULK]) == "stalled: no worker serves the bulk lane"


def test_depths_are_counted_by_lane_and_kept_for_an_hour(road: Road, settings: Settings) -> None:
    road.accept(*members("L", 3))
    road.accept(*members("B", 5), lane=Lane.BULK)
    road.sql("insert into lane_depth (lane, at, depth) values ('live', now() - interval '2 hours', 1)")
    count(settings)
    count(settings)  # another dispatcher, in the same moment

    assert sorted(road.sql("select lane, depth from lane_depth")) == [("bulk", 5), ("live", 3)]
    assert lanes(road, settings)[Lane.BULK].trend is Trend.KEEPS_UP
