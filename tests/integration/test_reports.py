"""Reports of failures to Siebel, when what they are about changes while they wait or are out."""

from datetime import timedelta

import pytest
from sqlalchemy import Connection, Engine

from producers.intake.accept import IntakeRules, accept
from shared.errors import BudgetSpentError, StageError, UnavailableError
from shared.events import parse_event
from shared.instances import Done, Failed, Result, Work
from shared.ledger import acceptance
from shared.ledger.engine import transaction
from shared.ledger.jobs import Kind
from shared.ledger.transitions import attempts, claims, errands, outages, requeues
from shared.ledger.transitions.claims import Claimed
from shared.ledger.transitions.outages import Hold
from shared.lifecycle.retry import RetryPolicy
from shared.lifecycle.verdicts import Rules, conclude
from shared.pipeline import Lane, Stage, SyncStatus
from tests.road import ALWAYS_DOWN, ALWAYS_REFUSED, NOW, TERMS, Road, start

DOWN = UnavailableError("Siebel", "answered 503", 503)
ATTEMPTS_MAX = 4
REPORTS = "select instance_id from errand where kind = 'report' order by 1"
TOLD = "select told_status from member"


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


def arrives(road: Road, name: str, minute: int) -> None:
    event = {
        "operation": "update",
        "occurred_at": (NOW + timedelta(minutes=minute)).isoformat(),
        "member": {"member_number": "M-1", "last_name": name, "status": "Active"},
    }
    accept(road.ledger, [(0, parse_event(event, max_bytes=64_000))], IntakeRules(Lane.LIVE))


def hold_at_oic(road: Road) -> None:
    with transaction(road.ledger) as tx:
        assert outages.hold_due(tx, Hold(Stage.OIC, "OIC is down", 300.0), limit=10) == 1


def begin_due(road: Road, stage: Stage = Stage.SIEBEL) -> list[Work]:
    """Claim and begin the errands that are scheduled, as if it were time."""
    road.sql("update errand set due_at = now() where token = 0")
    with transaction(road.ledger) as tx:
        claimed = errands.claim(tx, {(lane, stage): 9 for lane in Lane}, token=9, lease_s=60)
        ids = [one.id for some in claimed.values() for one in some]
        return attempts.begin(tx, stage, ids, lease_s=60).works


def end(road: Road, work: Work, error: StageError | None = None, *, spared: bool = False) -> None:
    status = (work.status or SyncStatus.SUCCESS).value
    done = Done("told", {"row_id": "1-R", "told_status": status, "told_error": work.error})
    result: Result = done if error is None else Failed(error)
    policy = RetryPolicy(5, 1800, ATTEMPTS_MAX)
    rules = Rules(Stage.SIEBEL, policy, report_after_s=300, jitter=0.5, carried=True, spared=spared)
    with transaction(road.ledger) as tx:
        assert attempts.finish(tx, Stage.SIEBEL, [conclude(work, result, rules)], TERMS) == 1


def test_who_is_in_sync_again_by_an_event_that_changes_nothing_is_not_reported_as_failing(road: Road) -> None:
    arrives(road, "A", 0)
    road.travel()
    arrives(road, "B", 1)
    hold_at_oic(road)
    arrives(road, "A", 2)
    assert road.sql("select state from instance order by id") == ["completed", "superseded", "unchanged"]
    assert begin_due(road) == []
    assert road.sql(REPORTS) == []
    assert road.sql(TOLD) == ["Success"]


def test_a_report_that_fails_goes_to_the_newer_instance_that_came_meanwhile(road: Road) -> None:
    road.accept("M-1")
    road.travel(ALWAYS_DOWN, attempts_max=9)
    (out,) = begin_due(road)
    road.accept("M-1", minute=1)
    end(road, out, DOWN)
    assert road.sql("select state from instance order by id") == ["superseded", "pending"]
    assert road.sql(REPORTS) == [2]
    (again,) = begin_due(road)
    assert (again.instance_id, again.status) == (2, SyncStatus.CT_FAILURE)
    end(road, again)
    assert road.sql(REPORTS) == []


def test_a_report_that_succeeds_is_not_repeated_for_the_newer_instance_that_came_meanwhile(road: Road) -> None:
    road.accept("M-1")
    road.travel(ALWAYS_DOWN, attempts_max=9)
    (out,) = begin_due(road)
    road.accept("M-1", minute=1)
    end(road, out)
    assert road.sql(REPORTS) == []
    assert road.sql("select told_status, errand_id from member") == [("CT Failure", None)]


def test_a_report_that_fails_is_dropped_where_the_newer_instance_has_not_inherited_the_failure(road: Road) -> None:
    road.accept("M-1")
    road.travel(ALWAYS_DOWN, attempts_max=9)
    (out,) = begin_due(road)
    road.accept("M-1", minute=1)
    road.sql("update instance set failing_since = null where id = 2")
    end(road, out, DOWN)
    assert road.sql("select count(*) from errand") == [0]
    assert road.sql("select errand_id from member") == [None]


def test_who_is_held_while_a_newer_event_is_judged_is_not_reported(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    road.accept("M-1")
    take_ids = acceptance.take_ids

    def held_meanwhile(tx: Connection, count: int) -> acceptance.Taken:
        hold_at_oic(road)
        return take_ids(tx, count)

    monkeypatch.setattr(acceptance, "take_ids", held_meanwhile)
    road.accept("M-1", minute=1)
    assert road.sql("select state from instance order by id") == ["superseded", "pending"]
    assert begin_due(road) == []
    assert road.sql(REPORTS) == []


def test_a_dead_letter_that_is_put_back_is_reported_although_its_report_was_dropped_meanwhile(road: Road) -> None:
    road.dead("M-1")
    (out,) = begin_due(road)
    job = start(road, 1)
    road.turn()
    end(road, out, DOWN)
    assert begin_due(road) == []
    with transaction(road.ledger) as tx:
        assert requeues.stop(tx, Kind.REQUEUE, job, "stopped by olga")
    road.report()
    assert road.sql(TOLD) == ["CT Failure"]


@pytest.mark.parametrize("first", ["told", "put back"])
def test_a_dead_letter_that_is_put_back_is_reported_once(road: Road, first: str) -> None:
    road.dead("M-1")
    (out,) = begin_due(road)
    job = start(road, 1)
    road.turn()
    if first == "told":
        end(road, out)
    with transaction(road.ledger) as tx:
        assert requeues.stop(tx, Kind.REQUEUE, job, "stopped by olga")
    if first == "put back":
        end(road, out)
    assert road.sql(REPORTS) == []
    assert road.sql(TOLD) == ["CT Failure"]


def test_the_report_of_a_dead_letter_has_all_its_attempts_whatever_the_one_before_has_spent(road: Road) -> None:
    road.accept("M-1")
    road.travel(ALWAYS_DOWN, attempts_max=2)
    for _ in range(ATTEMPTS_MAX - 1):
        (out,) = begin_due(road)
        end(road, out, DOWN)
    road.sql("update instance set due_at = now()")
    road.travel(ALWAYS_DOWN, attempts_max=2)
    assert road.sql("select state from instance") == ["dead"]
    (out,) = begin_due(road)
    assert out.attempt == 1
    end(road, out, DOWN)
    assert road.sql(REPORTS) == [1]


def test_a_failure_of_another_kind_is_reported_although_a_report_was_out_when_it_came(road: Road) -> None:
    road.dead("M-1")
    (out,) = begin_due(road)
    start(road, 1, from_start=True)
    road.turn()
    hold_at_oic(road)
    end(road, out)
    assert road.sql(TOLD) == ["CT Failure"]
    assert road.sql("select attempt, token, due_at > now() from errand") == [(0, 0, True)]
    road.report()
    assert road.sql(TOLD) == ["OIC Failure"]
    assert road.sql(REPORTS) == []


def test_a_failure_that_siebel_shows_already_is_not_reported_again(road: Road) -> None:
    road.accept("M-1")
    road.travel(ALWAYS_DOWN, attempts_max=9)
    (out,) = begin_due(road)
    road.sql("update instance set due_at = now()")
    with transaction(road.ledger) as tx:
        assert outages.hold_due(tx, Hold(Stage.CROWDTWIST, "CrowdTwist is down", 300.0), limit=10) == 1
    end(road, out)
    assert begin_due(road) == []
    assert road.sql(REPORTS) == []


def test_a_dead_letter_is_reported_although_siebel_was_told_of_a_newer_one_that_is_discarded(road: Road) -> None:
    road.dead("M-1")
    road.report()
    road.accept("M-1", minute=1)
    road.travel(ALWAYS_REFUSED)
    start(road, 2, kind=Kind.DISCARD)
    road.turn()
    start(road, 1)
    road.turn()
    assert road.sql(TOLD) == ["Data Error"]
    road.travel(ALWAYS_DOWN)
    road.report()
    assert road.sql(TOLD) == ["CT Failure"]


def test_a_failure_that_lasts_is_reported_although_the_budget_was_spent_at_its_next_attempt(road: Road) -> None:
    road.accept("M-1")
    road.travel(ALWAYS_DOWN, attempts_max=9)
    road.sql("update instance set due_at = now()")
    some: list[Claimed] = [one for batch in road.claim().values() for one in batch]
    with transaction(road.ledger) as tx:
        (work,) = attempts.begin(tx, Stage.CROWDTWIST, [one.id for one in some], lease_s=60).works
    rules = Rules(Stage.CROWDTWIST, RetryPolicy(5, 1800, 9), report_after_s=300, jitter=0.5, carried=True)
    spent = Failed(BudgetSpentError("CrowdTwist", 5.0))
    with transaction(road.ledger) as tx:
        attempts.finish(tx, Stage.CROWDTWIST, [conclude(work, spent, rules)], TERMS)
    assert road.sql(REPORTS) == [1]
    road.report()
    assert road.sql(TOLD) == ["CT Failure"]


def test_a_report_that_is_given_up_says_so_in_the_activity(road: Road) -> None:
    road.dead("M-1")
    for _ in range(ATTEMPTS_MAX):
        (out,) = begin_due(road)
        end(road, out, DOWN)
    assert road.sql(REPORTS) == []
    (line,) = road.sql("select what from activity where what like '%given up%'")
    assert line == "Siebel: answered 503; the report is given up"


def test_a_check_of_what_is_pruned_is_not_due_for_ever(road: Road) -> None:
    road.accept("M-1", "M-2")
    road.travel()
    road.sql("update member set read_back_at = now(), lost_write_id = applied_id")
    road.sql("update member set tell_again_at = now(), lost_tell_id = told_id where member_number = 'M-1'")
    road.sql("update instance set finished_at = now() - interval '91 days' where member_number = 'M-1'")
    with transaction(road.ledger) as tx:
        assert claims.prune(tx, days=90, limit=10) == 1
    marks = (
        "select read_back_at is null, tell_again_at is null, lost_write_id is null from member order by member_number"
    )
    assert road.sql(marks) == [(True, True, False), (False, True, False)]


def test_nothing_is_pruned_while_an_errand_of_its_member_is_being_claimed(road: Road) -> None:
    road.accept("M-1")
    road.travel()
    road.sql("update member set read_back_at = now(), lost_write_id = applied_id")
    road.sql("update instance set finished_at = now() - interval '91 days'")
    with transaction(road.ledger) as tx:
        at = [Stage.CROWDTWIST, Stage.CROWDTWIST]
        parameters = {"lanes": list(Lane), "at": at, "limits": [5, 5], "stages": list(Stage)}
        assert tx.execute(errands.LOCK_DUE, parameters).scalars().all() == ["M-1"]
        with transaction(road.ledger) as other:
            assert claims.prune(other, days=90, limit=10) == 0


def test_the_last_attempt_of_a_report_is_given_back_where_nothing_shows_that_the_system_was_up(road: Road) -> None:
    road.dead("M-1")
    for _ in range(ATTEMPTS_MAX - 1):
        (out,) = begin_due(road)
        end(road, out, DOWN)
    for spared in (True, True, False):
        (out,) = begin_due(road)
        assert out.attempt == ATTEMPTS_MAX
        end(road, out, DOWN, spared=spared)
        assert road.sql(REPORTS) == ([1] if spared else [])
