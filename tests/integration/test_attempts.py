"""The life of an instance in the ledger: claimed, begun, concluded; fenced, expired, reported, overtaken."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from producers.intake.accept import IntakeRules, accept
from shared.errors import DataError, OutcomeUnknownError, StageError, UnavailableError
from shared.events import parse_event
from shared.instances import Done, Errand, Failed, Result, Work
from shared.ledger.transitions import attempts, claims
from shared.ledger.transitions.errands import claim as claim_errands
from shared.lifecycle.retry import RetryPolicy
from shared.lifecycle.verdicts import Rules, after_loss, conclude
from shared.pipeline import Lane, Stage, SyncStatus

NOW = datetime.now(UTC) - timedelta(days=1)
POLICY = RetryPolicy(base_s=100, cap_s=1000, max_attempts=3)
TERMS = attempts.Terms(lease_s=60, settle_s=0, tell_settle_s=0, task_id="T-1")
ALL = {(Lane.LIVE, stage): 100 for stage in Stage}
OUTAGE = UnavailableError("CrowdTwist", "answered 503", 503)
REFUSED = DataError("CrowdTwist", "Email Address is already taken", 400)
SILENCE = OutcomeUnknownError("CrowdTwist", "no answer")
GOOD: dict[Stage, dict[str, Any]] = {
    Stage.OIC: {"user": {"third_party_id": "M-1"}},
    Stage.CROWDTWIST: {"ct_user_id": 42},
    Stage.SIEBEL: {"row_id": "1-R", "told_status": "Success", "told_error": ""},
}


def send(ledger: Engine, number: str = "M-1", minute: int = 0, **changes: str) -> None:
    member = {"member_number": number, "last_name": "Lee", "status": "Active"} | changes
    raw = {"operation": "update", "occurred_at": (NOW + timedelta(minutes=minute)).isoformat(), "member": member}
    accept(ledger, [(0, parse_event(raw, max_bytes=64_000))], IntakeRules(Lane.LIVE))


def claim(ledger: Engine, token: int = 7, lease_s: float = 60) -> dict[tuple[Lane, Stage], list[int]]:
    with ledger.begin() as tx:
        claimed = claims.claim(tx, ALL, token=token, lease_s=lease_s)
    return {key: [one.instance_id for one in some] for key, some in claimed.items()}


def begin(ledger: Engine, stage: Stage, ids: list[int], lease_s: float = 60) -> list[Work]:
    with ledger.begin() as tx:
        return attempts.begin(tx, stage, ids, lease_s=lease_s).works


def good(stage: Stage, work: Work) -> Result:
    status = work.status or SyncStatus.SUCCESS
    return Done("done", GOOD[stage] | ({"told_status": status.value} if stage is Stage.SIEBEL else {}))


def end(  # noqa: PLR0913
    ledger: Engine, stage: Stage, work: Work, result: Result, *, carried: bool = True, report_s: float = 0
) -> int:
    rules = Rules(stage, POLICY, report_after_s=report_s, jitter=0.5, carried=carried)
    with ledger.begin() as tx:
        return attempts.finish(tx, stage, [conclude(work, result, rules)], TERMS)


def travel(ledger: Engine, results: Mapping[Stage, StageError] | None = None, *, report_s: float = 0) -> None:
    """Claim what is due and take it through the stages; *results* has the stages that fail."""
    for (_, start), ids in claim(ledger).items():
        for stage in start.rest:
            for work in begin(ledger, stage, ids):
                error = (results or {}).get(stage)
                result = Failed(error) if error else good(stage, work)
                end(ledger, stage, work, result, report_s=report_s)


def errands(ledger: Engine, result: Callable[[Stage, Work], Result] = good) -> list[Errand]:
    with ledger.begin() as tx:
        claimed = claim_errands(tx, dict.fromkeys(ALL, 100), token=9, lease_s=60)
    ran: list[Errand] = []
    for (_, stage), some in claimed.items():
        for work in begin(ledger, stage, [one.id for one in some]):
            assert work.errand is not None
            ran.append(work.errand)
            end(ledger, stage, work, result(stage, work))
    return ran


def rows(ledger: Engine, columns: str = "state", table: str = "instance") -> list[Any]:
    with ledger.connect() as tx:
        order = "id" if table == "instance" else "1"
        found = tx.execute(text(f"select {columns} from {table} order by {order}")).all()
    return [tuple(row) if len(row) > 1 else row[0] for row in found]


def make_due(ledger: Engine) -> None:
    with ledger.begin() as tx:
        tx.execute(text("update instance set due_at = now() where state in ('waiting', 'held', 'pending')"))


def lapse(ledger: Engine) -> None:
    """Let the leases run out, and give them back."""
    with ledger.begin() as tx:
        tx.execute(text("update instance set lease_until = now() - interval '1 s' where state = 'running'"))
        tx.execute(text("update errand set lease_until = now() - interval '1 s' where token <> 0"))
    with ledger.begin() as tx:
        lost = claims.expired(tx, limit=100)
        for one in lost:
            attempts.finish(tx, one.stage, [after_loss(one, losses_max=3)], TERMS)


def test_an_instance_travels_to_completed_and_the_member_remembers(ledger: Engine) -> None:
    send(ledger)
    travel(ledger)
    assert rows(ledger, "state, stage, status, token, begun") == [("completed", "siebel", "Success", 0, False)]
    assert rows(ledger, "applied_id, ct_user_id, known_in_crowdtwist, row_id, told_status, synced", "member") == [
        (1, 42, True, "1-R", "Success", True)
    ]
    assert rows(ledger, "cast(user_json as jsonb)", "mapping") == [{"third_party_id": "M-1"}]
    states = [state for _, state in rows(ledger, "id, state", "activity")]
    assert states == ["pending", "running", "running", "completed"]


def test_a_data_error_is_told_to_siebel_and_never_retried(ledger: Engine) -> None:
    send(ledger)
    travel(ledger, {Stage.CROWDTWIST: REFUSED})
    assert rows(ledger, "state, status, error, code, failed_stage") == [
        ("rejected", "Data Error", "Email Address is already taken", "data_error", "crowdtwist")
    ]
    assert rows(ledger, "told_status, synced, applied_id", "member") == [("Data Error", False, None)]


def test_a_failure_waits_by_the_policy_and_keeps_its_place(ledger: Engine) -> None:
    send(ledger)
    travel(ledger, {Stage.CROWDTWIST: OUTAGE}, report_s=300)
    assert rows(ledger, "state, stage, attempt, status, code") == [
        ("waiting", "crowdtwist", 1, "CT Failure", "unavailable")
    ]
    assert rows(ledger, "round(extract(epoch from due_at - now()))") == [50]
    assert claim(ledger) == {}
    make_due(ledger)
    travel(ledger)
    assert rows(ledger, "state, attempt, status, code") == [("completed", 0, "Success", None)]


def test_after_the_last_attempt_it_is_a_dead_letter_and_siebel_is_told_at_once(ledger: Engine) -> None:
    send(ledger)
    for _ in range(3):
        travel(ledger, {Stage.CROWDTWIST: OUTAGE}, report_s=300)
        make_due(ledger)
    assert rows(ledger, "state, attempt, failed_stage, code") == [("dead", 3, "crowdtwist", "unavailable")]
    assert errands(ledger) == [Errand.REPORT]
    assert rows(ledger, "state, stage, attempt") == [("dead", "crowdtwist", 3)]
    assert rows(ledger, "told_status, synced", "member") == [("CT Failure", False)]
    assert errands(ledger) == []


def test_a_failure_that_lasts_is_reported_once_and_healed_by_success(ledger: Engine) -> None:
    send(ledger)
    travel(ledger, {Stage.CROWDTWIST: OUTAGE})
    assert errands(ledger) == [Errand.REPORT]
    assert rows(ledger, "state, stage, attempt") == [("waiting", "crowdtwist", 1)]
    assert rows(ledger, "*", "errand") == []
    assert rows(ledger, "told_status", "member") == ["CT Failure"]
    make_due(ledger)
    travel(ledger, {Stage.CROWDTWIST: OUTAGE})
    assert errands(ledger) == []
    make_due(ledger)
    travel(ledger)
    assert rows(ledger, "told_status", "member") == ["Success"]


def test_a_report_that_siebel_does_not_take_is_repeated(ledger: Engine) -> None:
    send(ledger)
    travel(ledger, {Stage.CROWDTWIST: OUTAGE})
    assert errands(ledger, lambda _stage, _work: Failed(UnavailableError("Siebel", "answered 500", 500))) == [
        Errand.REPORT
    ]
    assert rows(ledger, "attempt, due_at > now()", "errand") == [(1, True)]


def test_a_newer_event_inherits_the_failure_so_that_siebel_is_told_in_time(ledger: Engine) -> None:
    send(ledger)
    travel(ledger, {Stage.CROWDTWIST: OUTAGE}, report_s=300)
    send(ledger, minute=1, last_name="Other")
    assert rows(ledger, "state, failing_since is null, status") == [
        ("superseded", False, "CT Failure"),
        ("pending", False, "CT Failure"),
    ]
    assert rows(ledger, "instance_id, kind, due_at > now()", "errand") == [(2, "report", True)]


def test_a_stage_is_begun_once_however_often_its_message_comes(ledger: Engine) -> None:
    send(ledger)
    claim(ledger)
    assert len(begin(ledger, Stage.OIC, [1])) == 1
    assert begin(ledger, Stage.OIC, [1]) == []
    assert begin(ledger, Stage.CROWDTWIST, [1]) == []


def test_who_lost_the_lease_writes_nothing(ledger: Engine) -> None:
    send(ledger)
    claim(ledger, token=1)
    (slow,) = begin(ledger, Stage.OIC, [1])
    lapse(ledger)
    claim(ledger, token=2)
    (fast,) = begin(ledger, Stage.OIC, [1])
    assert end(ledger, Stage.OIC, slow, good(Stage.OIC, slow)) == 0
    assert end(ledger, Stage.OIC, fast, good(Stage.OIC, fast)) == 1
    assert rows(ledger, "state, stage, attempt") == [("running", "crowdtwist", 0)]


def test_a_message_that_nobody_begins_costs_no_attempt(ledger: Engine) -> None:
    send(ledger)
    claim(ledger)
    lapse(ledger)
    assert rows(ledger, "state, attempt, losses") == [("pending", 0, 0)]


def test_a_worker_that_dies_three_times_with_an_instance_buries_it(ledger: Engine) -> None:
    send(ledger)
    for _ in range(3):
        ((key, ids),) = claim(ledger).items()
        begin(ledger, key[1], ids)
        lapse(ledger)
    assert rows(ledger, "state, code, losses, failed_stage") == [("dead", "worker_lost", 3, "oic")]


def test_a_worker_lost_in_a_create_makes_the_next_attempt_probe(ledger: Engine) -> None:
    send(ledger)
    claim(ledger)
    (work,) = begin(ledger, Stage.OIC, [1])
    end(ledger, Stage.OIC, work, good(Stage.OIC, work))
    begin(ledger, Stage.CROWDTWIST, [1])
    lapse(ledger)
    claim(ledger)
    (again,) = begin(ledger, Stage.CROWDTWIST, [1])
    assert (again.attempt, again.unknown_outcome) == (2, True)


def test_one_member_has_at_most_one_in_flight(ledger: Engine) -> None:
    send(ledger)
    claim(ledger)
    send(ledger, minute=1, last_name="Other")
    assert claim(ledger) == {}
    assert rows(ledger) == ["running", "pending"]


@pytest.mark.parametrize("error", [OUTAGE, SILENCE])
def test_a_failed_attempt_that_a_newer_event_overtook_is_closed(ledger: Engine, error: StageError) -> None:
    send(ledger)
    claim(ledger)
    (work,) = begin(ledger, Stage.OIC, [1])
    send(ledger, minute=1, last_name="Other")
    end(ledger, Stage.OIC, work, Failed(error))
    assert rows(ledger) == ["superseded", "pending"]


def test_a_member_that_changes_all_the_time_is_still_shown_as_failing(ledger: Engine) -> None:
    send(ledger)
    travel(ledger, {Stage.CROWDTWIST: OUTAGE}, report_s=300)
    (since,) = rows(ledger, "failing_since")
    for minute in range(1, 4):
        make_due(ledger)
        ((_, ids),) = claim(ledger).items()
        stage = Stage.CROWDTWIST if minute == 1 else Stage.OIC
        (work,) = begin(ledger, stage, ids)
        send(ledger, minute=minute, last_name=f"L{minute}")
        end(ledger, stage, work, Failed(OUTAGE), report_s=300)
    assert rows(ledger) == ["superseded"] * 3 + ["pending"]
    assert rows(ledger, "failing_since")[-1] == since
    assert rows(ledger, "instance_id, kind", "errand") == [(4, "report")]


def test_a_refused_batch_goes_on_by_itself_to_tell_siebel(ledger: Engine) -> None:
    send(ledger)
    claim(ledger)
    (work,) = begin(ledger, Stage.OIC, [1])
    end(ledger, Stage.OIC, work, Failed(REFUSED), carried=False)
    assert rows(ledger, "state, stage, status") == [("pending", "siebel", "Data Error")]
    travel(ledger)
    assert rows(ledger, "state, status, failed_stage") == [("rejected", "Data Error", "oic")]


def test_a_status_that_waits_for_siebel_is_replaced_by_a_newer_event(ledger: Engine) -> None:
    send(ledger)
    travel(ledger, {Stage.SIEBEL: UnavailableError("Siebel", "answered 500", 500)})
    assert rows(ledger, "state, stage, status") == [("waiting", "siebel", "Success")]
    send(ledger, minute=1, last_name="Other")
    travel(ledger)
    assert rows(ledger) == ["superseded", "completed"]


def test_after_a_lost_write_the_next_success_is_read_back_once(ledger: Engine) -> None:
    send(ledger)
    travel(ledger)
    send(ledger, minute=1, last_name="Other")
    travel(ledger, {Stage.CROWDTWIST: SILENCE}, report_s=300)
    make_due(ledger)
    travel(ledger)
    assert rows(ledger, "read_back_at is null, lost_write_id", "member") == [(False, 2)]
    assert errands(ledger) == [Errand.READ_BACK]
    assert rows(ledger, "state, stage") == [("completed", "siebel")] * 2
    assert Errand.READ_BACK not in rows(ledger, "kind", "errand")
    assert rows(ledger, "read_back_at, lost_write_id", "member") == [(None, None)]


def test_a_write_that_only_a_gateway_answered_counts_as_lost(ledger: Engine) -> None:
    send(ledger)
    claim(ledger)
    (work,) = begin(ledger, Stage.OIC, [1])
    end(ledger, Stage.OIC, work, good(Stage.OIC, work))
    (work,) = begin(ledger, Stage.CROWDTWIST, [1])
    end(ledger, Stage.CROWDTWIST, work, Failed(OUTAGE, {"unknown_outcome": True}), report_s=300)
    assert rows(ledger, "state, code") == [("waiting", "unavailable")]
    assert rows(ledger, "unknown_outcome, lost_write_id", "member") == [(True, 1)]
    make_due(ledger)
    travel(ledger)
    assert errands(ledger) == [Errand.READ_BACK]


def test_what_crowdtwist_showed_last_is_remembered(ledger: Engine) -> None:
    for minute, facts, remembered in (
        (0, {"echoed": {"last_name": "Lee"}}, {"last_name": "Lee"}),
        (1, {}, {"last_name": "Lee"}),
        (
            2,
            {"echoed": {"last_name": "L\0\ue000x", "is_active": False}},
            {"last_name": "L\ufffd\ue000x", "is_active": False},
        ),
        (3, {"echoed": {}}, {}),
    ):
        send(ledger, minute=minute, last_name=f"Lee {minute}")
        for (_, start), ids in claim(ledger).items():
            for stage in start.rest:
                for work in begin(ledger, stage, ids):
                    done = Done("done", {"ct_user_id": 42} | facts) if stage is Stage.CROWDTWIST else good(stage, work)
                    end(ledger, stage, work, done)
        assert rows(ledger, "ct_user_id, echoed", "member") == [(42, remembered)]


def test_of_two_errands_of_a_member_one_goes_at_a_time(ledger: Engine) -> None:
    send(ledger)
    travel(ledger, {Stage.CROWDTWIST: SILENCE}, report_s=300)
    make_due(ledger)
    travel(ledger)
    send(ledger, minute=1, last_name="Other")
    travel(ledger, {Stage.CROWDTWIST: OUTAGE})
    assert rows(ledger) == ["completed", "waiting"]
    assert ("report", 2, True) in rows(ledger, "kind, instance_id, due_at <= now()", "errand")
    assert rows(ledger, "read_back_at <= now()", "member") == [True]
    assert errands(ledger) == [Errand.READ_BACK]
    assert errands(ledger) == [Errand.REPORT]


def test_errands_of_a_lane_are_as_many_as_it_has_room_for(ledger: Engine) -> None:
    for number in ("M-1", "M-2", "M-3"):
        send(ledger, number)
    travel(ledger, {Stage.CROWDTWIST: OUTAGE})
    with ledger.begin() as tx:
        limits = {(lane, stage): 2 if lane is Lane.LIVE else 5 for lane, stage in ALL}
        claimed = claim_errands(tx, limits, token=9, lease_s=60)
    assert {queue: len(some) for queue, some in claimed.items()} == {(Lane.LIVE, Stage.SIEBEL): 2}


def test_a_worker_lost_on_an_errand_costs_the_instance_nothing(ledger: Engine) -> None:
    send(ledger)
    travel(ledger, {Stage.CROWDTWIST: OUTAGE})
    with ledger.begin() as tx:
        ((claimed,),) = claim_errands(tx, dict.fromkeys(ALL, 1), token=9, lease_s=60).values()
    assert len(begin(ledger, Stage.SIEBEL, [claimed.id])) == 1
    lapse(ledger)
    assert rows(ledger, "state, stage, attempt, losses") == [("waiting", "crowdtwist", 1, 0)]
    assert errands(ledger) == [Errand.REPORT]


def test_pruning_takes_what_finished_long_ago_and_leaves_dead_letters(ledger: Engine) -> None:
    for number in ("M-1", "M-2"):
        send(ledger, number)
    travel(ledger)
    with ledger.begin() as tx:
        tx.execute(text("update instance set finished_at = now() - interval '91 days'"))
        tx.execute(
            text("update instance set state = 'dead', code = 'bug', failed_stage = 'oic' where member_number = 'M-2'")
        )
    with ledger.begin() as tx:
        assert claims.prune(tx, days=90, limit=10) == 1
    assert rows(ledger, "member_number, state") == [("M-2", "dead")]
    assert {instance_id for instance_id, _ in rows(ledger, "instance_id, state", "activity")} == {2}
